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

}  // namespace switchyard::ops
