#include "switchyard/kernels/upload.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "cuda/launch.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr std::size_t kChunkBytes = 2048;  // arguments of a kernel may have 4 KiB
constexpr unsigned kThreads = 256;

struct Chunk {
  unsigned char bytes[kChunkBytes];
};

__global__ void store_chunk(Chunk chunk, unsigned char* out, unsigned count) {
  for (unsigned i = threadIdx.x; i < count; i += kThreads) out[i] = chunk.bytes[i];
}

}  // namespace

void upload(void* device, const void* host, std::size_t bytes, Stream stream) {
  for (std::size_t begin = 0; begin < bytes; begin += kChunkBytes) {
    Chunk chunk;
    const std::size_t count = std::min(kChunkBytes, bytes - begin);
    std::memcpy(chunk.bytes, static_cast<const unsigned char*>(host) + begin, count);
    launch(store_chunk, 1, kThreads, 0, stream, chunk, static_cast<unsigned char*>(device) + begin,
           static_cast<unsigned>(count));
  }
}

}  // namespace switchyard::kernels::cuda
