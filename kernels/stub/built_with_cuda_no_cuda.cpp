#include "switchyard/kernels/built_with_cuda.h"

namespace switchyard::kernels::cuda {

bool is_built() {
  return false;
}

}  // namespace switchyard::kernels::cuda
