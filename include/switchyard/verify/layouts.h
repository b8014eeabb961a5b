// `switchyard verify-layout`: the same few steps of training in several layouts of ranks, compared
// with one rank alone. Ranks are threads of this process; the data, the seed, the model and the
// code are those of a real run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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

// (token, expert) pairs that only one of the two chose, of how many that one rank alone chose.
struct FlippedChoices {
  std::int64_t num_flipped = 0;
  std::int64_t num_pairs = 0;
};

// Where the two first choose differently: the first step, and in it the lowest layer.
struct FirstFlip {
  std::int64_t step = 0;  // from 1
  std::int64_t layer = 0;
  FlippedChoices choices{};  // of this layer in this step
};

struct LayoutResult {
  Layout layout;
  // |a - b| / max(|a|, 1e-3) over the steps that are judged: the language-model loss, every raw
  // loss of every MoE layer (l1: max(|a|, 1)); the norm of the gradient before clipping.
  Difference loss{};
  Difference clip_norm{};
  // ||a - b|| / ||a||, of each expert and each other tensor of a checkpoint on its own, in every
  // judged step: gradients as the update uses them, what it makes of the parameters, and what every
  // rank's routers carry on to the next step.
  Difference gradient{};
  Difference parameter{};
  Difference router_state{};
  FlippedChoices choices{};  // of all layers and steps
  std::optional<FirstFlip> first_flip{};
  std::int64_t num_judged = 0;            // steps, from the first
  Difference after_flip{};                // losses and clip norm of the steps that are not judged
  std::vector<std::string> complaints{};  // what is beyond rounding; none: the layout passes
};

struct Tolerances {
  double loss = 0.0;       // and clip norm
  double parameter = 0.0;  // and gradients, and router state
  // Rounding may move a score over the cut between chosen and not; from there on the two are
  // rightly different. What comes before is judged: all steps before, and in that step the losses
  // of layers below the one that flips and those of its logits. It has to be three steps at least
  // (or all that there are), and at first no more choices may flip than rounding makes: 4 or one
  // pair in 1,000, whichever is more.
  bool judge_until_flip = false;
};
// fp64: 1e-10 throughout; fp32: 1e-5, and 1e-3 for parameters, since Adam amplifies rounding (and a
// histogram of logits, of which a threshold is made, counts by bins), until a choice flips. Throws
// UsageError for other precisions, in which layouts rightly differ by what rounding does.
[[nodiscard]] Tolerances tolerances_of(const std::string& precision);

struct VerifyReport {
  config::Config config;  // of one rank
  std::int64_t steps = 0;
  bool random_tokens = false;  // the data that the config names is not prepared
  Tolerances tolerances;
  std::vector<LayoutResult> layouts;

  [[nodiscard]] bool passed() const;
  // Over layouts, of the losses and clip norms that are judged.
  [[nodiscard]] double largest_difference() const;
};

// train.micro_batch_size of the config is one rank's; R ranks take an R-th of it each, so that a
// micro-step is the same tokens in every layout (load balance is a property of micro-steps). Data
// that is not prepared is replaced by random tokens. Before any work it throws UsageError when a
// layout does not fit the config, and OutOfMemoryError when this machine cannot hold what is kept
// of so many steps.
[[nodiscard]] VerifyReport verify_layouts(const config::Config& config,
                                          const VerifyOptions& options);

// A table for a terminal; its last line is "max relative difference 3.1e-16", of the losses and
// norms that are judged.
[[nodiscard]] std::string report_page(const VerifyReport& report);

}  // namespace switchyard::verify
