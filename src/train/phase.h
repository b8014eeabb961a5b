// A phase of training: timed for the records, and named for profilers. A step's phases are timed on
// the device that computes them; what surrounds the steps is timed on the host, which waits for it.
#pragma once

#include <optional>
#include <utility>

#include "switchyard/core/timing.h"
#include "switchyard/ops/device_time.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::train {

class Phase {
 public:
  Phase(SpanTimer& timer, const char* name) : on_host_(std::in_place, timer, name), named_(name) {}
  Phase(ops::DeviceSpans& spans, const char* name)
      : on_device_(std::in_place, spans, name), named_(name) {}

 private:
  std::optional<Span> on_host_;
  std::optional<ops::DeviceSpans::Scope> on_device_;
  ops::OpSpan named_;
};

}  // namespace switchyard::train
