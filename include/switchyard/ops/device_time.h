// How long a device computes.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <deque>
#include <functional>
#include <optional>

#include "switchyard/core/timing.h"

namespace switchyard::ops {

// Seconds that `device` spends on the work that run() gives it: on a CPU the time until run()
// returns; on a GPU the time between events before and behind that work on torch's current stream.
// Returns when the work is done.
[[nodiscard]] double device_seconds(c10::Device device, const std::function<void()>& run);

// Spans of a device's time, which the host does not wait for: on a GPU it is ahead of the device,
// and what it spends in a scope says nothing of the work. On a CPU wall time.
class DeviceSpans {
 public:
  // Adds what is measured to `timer`, which must outlive this.
  DeviceSpans(c10::Device device, SpanTimer& timer) : device_(device), timer_(timer) {}

  class Scope {
   public:
    // `name` must outlive the program: a literal.
    Scope(DeviceSpans& spans, const char* name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    DeviceSpans& spans_;
    const char* name_;
    std::optional<Span> wall_;         // of a CPU
    std::optional<c10::Event> start_;  // of a GPU
  };

  // Adds the spans whose work is done to the timer; those behind it stay for a later call.
  void add_finished();

 private:
  struct Pending {
    const char* name;
    c10::Event start;
    c10::Event end;
  };

  c10::Device device_;
  SpanTimer& timer_;
  std::deque<Pending> pending_;
};

}  // namespace switchyard::ops
