#include "switchyard/ops/device_time.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <utility>

namespace switchyard::ops {
namespace {

// Behind what is queued. A backend's own default measures time, torch's does not.
c10::Event event_now(c10::Device device) {
  c10::Event event(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  event.record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  return event;
}

}  // namespace

double device_seconds(c10::Device device, const std::function<void()>& run) {
  if (device.is_cpu()) {
    const auto start = std::chrono::steady_clock::now();
    run();
    return seconds_since(start);
  }
  const c10::Event start = event_now(device);
  run();
  const c10::Event end = event_now(device);
  end.synchronize();
  return start.elapsedTime(end) / 1e3;
}

DeviceSpans::Scope::Scope(DeviceSpans& spans, const char* name) : spans_(spans), name_(name) {
  if (spans.device_.is_cpu()) {
    wall_.emplace(spans.timer_, name);
  } else {
    start_ = event_now(spans.device_);
  }
}

DeviceSpans::Scope::~Scope() {
  if (!start_) return;
  try {
    spans_.pending_.push_back({name_, std::move(*start_), event_now(spans_.device_)});
  } catch (...) {  // a device that failed says so elsewhere; this span is lost
  }
}

void DeviceSpans::add_finished() {
  while (!pending_.empty() && pending_.front().end.query()) {
    const Pending& span = pending_.front();
    timer_.add(span.name,
               std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::duration<double, std::milli>(span.start.elapsedTime(span.end))));
    pending_.pop_front();
  }
}

}  // namespace switchyard::ops
