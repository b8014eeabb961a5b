// Tells once when the language model no longer trains a router: when nearly all tokens of its layer
// have one expert whose weight does not depend on the router, or none.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "switchyard/config/config.h"
#include "switchyard/telemetry/step_statistics.h"

namespace switchyard::telemetry {

class RouterWatch {
 public:
  static constexpr std::int64_t kWindow = 50;  // steps over which a layer is judged

  explicit RouterWatch(config::ModelConfig model) : model_(std::move(model)) {}

  // For people: which layers have newly lost the signal with this step, what that means and what
  // helps. Skipped steps and steps without tokens do not count. A layer is named once in a session.
  //
  // Lost: of a window's tokens at least 98 % had no expert; or at most one, and either
  // `renormalize` makes the weight of such a token the constant 1, or what is left of the router's
  // gradient was under a millionth of the model's.
  [[nodiscard]] std::optional<std::string> add(const StepSums& sums);

 private:
  struct Layer {
    std::int64_t num_steps = 0;
    std::int64_t num_tokens = 0;
    std::int64_t num_with_none = 0;
    std::int64_t num_with_one = 0;
    double router_norm = 0.0;  // sums over the window
    double model_norm = 0.0;
  };
  [[nodiscard]] bool is_lost(std::int64_t layer, const Layer& window) const;

  config::ModelConfig model_;
  std::map<std::int64_t, Layer> layers_;
  std::set<std::int64_t> told_;
};

}  // namespace switchyard::telemetry
