// Names a scope for LibTorch's observers (its profiler, benchmarks); next to nothing while none
// listens.
#pragma once

#include <ATen/record_function.h>

namespace switchyard::ops {

class OpSpan {
 public:
  // `name` must outlive the program: a literal.
  explicit OpSpan(const char* name) : record_(at::RecordScope::USER_SCOPE) {
    if (record_.isActive()) record_.before(name);
  }
  OpSpan(const OpSpan&) = delete;
  OpSpan& operator=(const OpSpan&) = delete;

 private:
  at::RecordFunction record_;
};

// From here on every OpSpan is a range for NVIDIA's profilers as well. Only in a build with CUDA.
void show_spans_to_gpu_profilers();

}  // namespace switchyard::ops
