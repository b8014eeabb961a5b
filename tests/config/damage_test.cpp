// Damaged and random configs are answered with ConfigError or a valid Config, never anything else.
// Run under the sanitizers this is the fuzz test of the YAML reader.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "loading.h"
#include "switchyard/core/philox.h"

namespace switchyard::config {
namespace {

// A stream of random numbers that is the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : key_(philox_key(seed)) {}
  std::size_t below(std::size_t limit) {
    return philox(key_, {count_++, 0, 0, 0})[0] % static_cast<std::uint32_t>(limit);
  }

 private:
  PhiloxKey key_;
  std::uint32_t count_ = 0;
};

// True when it loads; what loads must survive being written and read.
bool loads(const std::string& yaml, const Overrides& overrides = {}) {
  try {
    const Resolved resolved = load_text(yaml, "x.yaml", overrides);
    EXPECT_TRUE(load_text(to_yaml(resolved.config), "again.yaml", {}).config == resolved.config)
        << yaml;
    return true;
  } catch (const ConfigError& error) {
    EXPECT_FALSE(error.problems().empty());
    return false;
  }
}

const std::string kSeed = minimal_with(R"(    every: 2
    router:
      type: top_p
      p: 4e-1
      max_experts: none
      p_warmup: {from: 1.0, steps: 20}
      per_layer: {"0": {p: 0.5}, 2: {type: top_k, k: 3}}
    loss: {load_balance: 1e-2, scope: sequence}
optim:
  betas: [0.9, 0.95]
schedule: {type: warmup_stable_decay, warmup_steps: 10}
)");

TEST(Damage, SeedItselfLoads) {
  EXPECT_TRUE(loads(kSeed));
}

TEST(Damage, EveryTruncationIsAnswered) {
  std::size_t loaded = 0;
  for (std::size_t size = 0; size < kSeed.size(); ++size) {
    loaded += loads(kSeed.substr(0, size)) ? 1 : 0;
  }
  EXPECT_GT(loaded, 0U);
  EXPECT_LT(loaded, kSeed.size() / 2);
}

TEST(Damage, EverySingleByteChangeIsAnswered) {
  std::size_t refused = 0;
  for (std::size_t i = 0; i < kSeed.size(); ++i) {
    for (const char byte : {'\0', '\t', ':', '[', '"', '9'}) {
      std::string damaged = kSeed;
      damaged[i] = byte;
      refused += loads(damaged) ? 0 : 1;
    }
  }
  EXPECT_GT(refused, kSeed.size());
}

TEST(Damage, RandomEditsAreAnswered) {
  constexpr std::array<std::string_view, 24> kPieces = {
      ": ",    "\n",  "  ",        "- ",    "{",  "}",    "[",
      "]",     ",",   "null",      "1e999", "-1", "?",    "|\n",
      "\"",    "'",   "#",         "&a ",   "*a", "!!x ", "extends: y.yaml\n",
      "---\n", "<<:", "per_layer:"};
  Random random(3);
  for (int round = 0; round < 1500; ++round) {
    std::string text = kSeed;
    const std::size_t edits = 1 + random.below(4);
    for (std::size_t edit = 0; edit < edits; ++edit) {
      const std::size_t at = random.below(text.size());
      switch (random.below(3)) {
        case 0:
          text.insert(at, kPieces[random.below(kPieces.size())]);
          break;
        case 1:
          text.erase(at, 1 + random.below(12));
          break;
        default: {
          const std::size_t from = random.below(text.size());
          text.insert(at, text.substr(from, 1 + random.below(40)));
        }
      }
      if (text.empty()) text = "\n";
    }
    (void)loads(text);
  }
}

TEST(Damage, RandomOverridesAreAnswered) {
  const std::vector<std::string> keys = {"model.moe.router",
                                         "model.moe.router.type",
                                         "model.moe.router.k",
                                         "model.moe.router.per_layer",
                                         "model.moe.router.per_layer.2",
                                         "model.moe.router.per_layer.2.type",
                                         "model.moe.router.p_warmup",
                                         "model.moe.router.p_warmup.steps",
                                         "model.moe.layers",
                                         "model.moe.every",
                                         "model.preset",
                                         "model",
                                         "train.steps",
                                         "optim.betas",
                                         "data.blend",
                                         "..",
                                         "model..moe",
                                         "schedule.type"};
  const std::vector<std::string> values = {"top_k",
                                           "top_p",
                                           "attention_importance",
                                           "1",
                                           "0.5",
                                           "none",
                                           "[0]",
                                           "[1, 2]",
                                           "{}",
                                           "{p: 0.3}",
                                           "{type: top_k, k: 2}",
                                           "",
                                           "tiny",
                                           "-3",
                                           "[[",
                                           "{steps: 4}",
                                           "\"x\"",
                                           "[{path: a}]",
                                           "linear",
                                           "2e1"};
  Random random(4);
  std::size_t loaded = 0;
  for (int round = 0; round < 1500; ++round) {
    Overrides overrides;
    const std::size_t count = 1 + random.below(4);
    for (std::size_t i = 0; i < count; ++i) {
      overrides.push_back(keys[random.below(keys.size())] + "=" +
                          values[random.below(values.size())]);
    }
    loaded += loads(kSeed, overrides) ? 1 : 0;
  }
  EXPECT_GT(loaded, 15U);
}

}  // namespace
}  // namespace switchyard::config
