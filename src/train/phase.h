// A phase of training: timed for the records, and named for profilers.
#pragma once

#include "switchyard/core/timing.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::train {

class Phase {
 public:
  Phase(SpanTimer& timer, const char* name) : timed_(timer, name), named_(name) {}

 private:
  Span timed_;
  ops::OpSpan named_;
};

}  // namespace switchyard::train
