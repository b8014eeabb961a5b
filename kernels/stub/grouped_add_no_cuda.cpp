#include "stub/no_cuda.h"
#include "switchyard/kernels/grouped_add.h"

namespace switchyard::kernels::cuda {

void grouped_add(const GroupedAddParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("grouped_add");
}
void grouped_add(const GroupedAddParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("grouped_add");
}
void grouped_add(const GroupedAddParams<BFloat16>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("grouped_add");
}

}  // namespace switchyard::kernels::cuda
