// Tells when experts die, come back, or when a few of them take nearly all the load: once per
// change, however long it lasts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/telemetry/step_statistics.h"

namespace switchyard::telemetry {

struct ExpertWatchOptions {
  std::int64_t dead_steps = 200;      // without a token for so long is dead
  std::int64_t collapse_window = 50;  // steps over which the load is judged
};

// Experts of one layer that changed together.
struct ExpertChange {
  enum class Kind { kDead, kAlive, kCollapsed, kSpread };
  Kind kind = Kind::kDead;
  std::int64_t layer = 0;
  std::vector<std::int64_t> experts = {};  // ascending; the fullest ones for kCollapsed, kSpread
  std::int64_t num_steps = 0;  // kDead, kAlive: without a token; kCollapsed, kSpread: the window
  double share = 0.0;          // kCollapsed, kSpread: of the window's rows that these experts took

  // For people: what was seen, and what to try where it is bad.
  [[nodiscard]] std::string message(const config::MoeLossConfig& loss) const;
  [[nodiscard]] bool is_warning() const { return kind == Kind::kDead || kind == Kind::kCollapsed; }
};

// State begins anew with every session: a resumed run says once more what is still so.
class ExpertWatch {
 public:
  explicit ExpertWatch(ExpertWatchOptions options = {}) : options_(options) {}

  // What one step changed. Skipped steps and steps without rows in a layer do not count for it.
  //
  // Collapse: with k experts per token, m = ceil(k) experts can take all rows of a layer, and would
  // take m / E of them if the load were even. The load has collapsed when the fullest m take more
  // than 3/4 of the way from there to all; it has spread again below 1/2 of the way. Of a layer
  // whose tokens use more than 3/4 of the experts nothing is said.
  [[nodiscard]] std::vector<ExpertChange> add(const StepSums& sums);

 private:
  struct Layer {
    std::vector<std::int64_t> num_idle_steps_E;
    std::vector<std::int64_t> window_count_E;
    std::int64_t window_tokens = 0;
    std::int64_t window_steps = 0;
    bool collapsed = false;
  };
  void watch_tokens(const LayerSums& sums, Layer& layer, std::vector<ExpertChange>& changes) const;
  void watch_load(const LayerSums& sums, Layer& layer, std::vector<ExpertChange>& changes) const;

  ExpertWatchOptions options_;
  std::map<std::int64_t, Layer> layers_;
};

}  // namespace switchyard::telemetry
