// Rotation of half-split pairs (x[d], x[d + D/2]) by an angle per token and pair.
#pragma once

#include <cstdint>

#include "switchyard/kernels/attention.h"
#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct RopeParams {
  HeadRows<const T> in;
  HeadRows<T> out;
  std::int64_t num_tokens = 0;
  std::int64_t num_heads = 0;
  std::int64_t head_dim = 0;                 // even
  const std::int64_t* position_T = nullptr;  // rows of the tables
  const accumulation_t<T>* cos = nullptr;    // [positions, head_dim / 2]
  const accumulation_t<T>* sin = nullptr;
  bool inverse = false;  // by minus the angle: what backward does
};

namespace cpu {
void rope(const RopeParams<float>& params);
void rope(const RopeParams<double>& params);
void rope(const RopeParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void rope(const RopeParams<float>& params, Stream stream);
void rope(const RopeParams<double>& params, Stream stream);
void rope(const RopeParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
