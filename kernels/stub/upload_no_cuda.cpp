#include "stub/no_cuda.h"
#include "switchyard/kernels/upload.h"

namespace switchyard::kernels::cuda {

void upload(void* /*device*/, const void* /*host*/, std::size_t /*bytes*/, Stream /*stream*/) {
  throw_no_cuda("upload");
}

}  // namespace switchyard::kernels::cuda
