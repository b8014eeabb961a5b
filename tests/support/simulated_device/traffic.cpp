#include "support/simulated_device/traffic.h"

#include <ATen/record_function.h>
#include <fmt/format.h>

#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "support/gpu_simulator/simulator.h"
#include "support/simulated_device/simulated_device.h"

namespace switchyard::simulated_device {
namespace {

thread_local std::vector<const char*> spans;  // literals

// Keeps `spans` as OpSpans begin and end.
void follow_spans() {
  at::addGlobalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction& span) -> std::unique_ptr<at::ObserverContext> {
            spans.push_back(span.name());
            return nullptr;
          },
          [](const at::RecordFunction& /*span*/, at::ObserverContext* /*context*/) {
            if (!spans.empty()) spans.pop_back();
          })
          .scopes({at::RecordScope::USER_SCOPE}));
}
[[maybe_unused]] const bool kFollowsSpans = (follow_spans(), true);

struct Counts {
  std::mutex mutex;
  Traffic traffic;
};
Counts& counts() {
  static auto* const instance = new Counts;
  return *instance;
}

void count(std::map<std::string, std::int64_t> Traffic::*list, const char* what) {
  Counts& all = counts();
  const std::scoped_lock lock(all.mutex);
  ++(all.traffic.*list)[fmt::format("{}: {}", fmt::join(spans, "/"), what)];
}

}  // namespace

void count_wait(const char* what) {
  count(&Traffic::waits, what);
}
void count_copy_to_host(const char* what) {
  count(&Traffic::copies_to_host, what);
}

const char* current_span() {
  return spans.empty() ? "no span" : spans.back();
}

Traffic take_traffic() {
  Counts& all = counts();
  const std::scoped_lock lock(all.mutex);
  return std::exchange(all.traffic, {});
}

std::int64_t total(const std::map<std::string, std::int64_t>& counts) {
  std::int64_t sum = 0;
  for (const auto& [name, count] : counts) sum += count;
  return sum;
}

std::string to_string(const Traffic& traffic) {
  std::string text;
  for (const auto& [name, count] : traffic.waits)
    text += fmt::format("{:3} waits  {}\n", count, name);
  for (const auto& [name, count] : traffic.copies_to_host) {
    text += fmt::format("{:3} copies {}\n", count, name);
  }
  return text;
}

}  // namespace switchyard::simulated_device

namespace switchyard::gpu_simulator {

void count_host_wait() {
  simulated_device::count_wait("read back");
}
void count_copy_to_host() {
  simulated_device::count_copy_to_host("read back");
}

}  // namespace switchyard::gpu_simulator
