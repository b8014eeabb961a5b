// `switchyard verify-layout`: the same few steps of training in several layouts of ranks, compared
// with one rank alone. Ranks are threads of this process; the data, the seed, the model and the
// code are those of a real run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/config/ranks.h"

namespace switchyard::verify {

using config::Layout;

// "1x1,4x2" -> ranks x parallel.expert, as many ranks as one process may have threads for. Throws
// UsageError.
[[nodiscard]] std::vector<Layout> parse_layouts(std::string_view text);

struct VerifyOptions {
  std::vector<Layout> layouts;
  std::int64_t steps = 5;
  // What a rank gets instead of its communicator; for tests, which break it. May be empty.
  std::function<std::unique_ptr<comm::Communicator>(std::unique_ptr<comm::Communicator> world)>
      wrap = {};
};

// How far a layout is from one rank alone at most, and where.
struct Difference {
  double relative = 0.0;
  std::string where{};  // "step 3", "model.layers.1.moe.router.weight, step 2"
};

struct LayoutResult {
  Layout layout;
  // |a - b| / max(|a|, 1e-3) over all steps: the language-model loss, every raw loss of every MoE
  // layer; the norm of the gradient before clipping.
  Difference loss{};
  Difference clip_norm{};
  // ||a - b|| / ||a||, of each expert and each other tensor of a checkpoint on its own: gradients
  // as the update uses them in every step, and what they have become after the last.
  Difference gradient{};
  Difference parameter{};
  // (token, expert) pairs of all layers and steps that only one of the two chose, of how many.
  std::int64_t num_flipped = 0;
  std::int64_t num_pairs = 0;
  bool is_within = false;
};

struct Tolerances {
  double loss = 0.0;       // and clip norm
  double parameter = 0.0;  // and gradients
};
// fp64: 1e-10 throughout; fp32: 1e-5, and 1e-3 for parameters, since Adam amplifies rounding.
// Throws UsageError for other precisions, in which layouts rightly differ by what rounding does.
[[nodiscard]] Tolerances tolerances_of(const std::string& precision);

struct VerifyReport {
  config::Config config;  // of one rank
  std::int64_t steps = 0;
  bool random_tokens = false;  // the data that the config names is not prepared
  Tolerances tolerances;
  std::vector<LayoutResult> layouts;

  [[nodiscard]] bool passed() const;
  // Over layouts, of losses and clip norms.
  [[nodiscard]] double largest_difference() const;
};

// train.micro_batch_size of the config is one rank's; R ranks take an R-th of it each, so that a
// micro-step is the same tokens in every layout (load balance is a property of micro-steps). Data
// that is not prepared is replaced by random tokens. Throws UsageError, before any work, when a
// layout does not fit the config.
[[nodiscard]] VerifyReport verify_layouts(const config::Config& config,
                                          const VerifyOptions& options);

// A table for a terminal; its last line is "max relative difference 3.1e-16", of losses and norms.
[[nodiscard]] std::string report_page(const VerifyReport& report);

}  // namespace switchyard::verify
