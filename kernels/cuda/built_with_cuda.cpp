#include "switchyard/kernels/built_with_cuda.h"

namespace switchyard::kernels::cuda {

bool is_built() {
  return true;
}

}  // namespace switchyard::kernels::cuda
