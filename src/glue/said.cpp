#include "glue/said.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "switchyard/config/begin.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/values.h"
#include "switchyard/core/error.h"

namespace switchyard::glue {
namespace {

struct Decided {
  const char* key;
  const char* instead;  // or why there is nothing
};
// What follows from the rows and from the command's flags.
constexpr std::array<Decided, 11> kDecided = {{
    {"run.dir", "--output"},
    {"run.from", "--from"},
    {"parallel.expert", "nothing: every rank has all experts"},
    {"data.path", "--data"},
    {"data.blend", "--data"},
    {"data.sequence_length", "finetune.max_length"},
    {"train.steps", "finetune.epochs"},
    {"schedule.steps", "finetune.epochs"},
    {"train.evaluate_every", "nothing: a task is evaluated after every epoch"},
    {"train.keep_best", "nothing: the best checkpoint is kept"},
    {"train.calibrate", "nothing: the temperature is that of a model of text"},
}};

// What fine-tuning has no use for.
constexpr std::array<Decided, 8> kUnread = {{
    {"train.evaluate_tokens", "all rows of dev are judged"},
    {"train.sample_every", "a model of a task writes no text"},
    {"train.sample_prompt", "a model of a task writes no text"},
    {"train.sample_tokens", "a model of a task writes no text"},
    {"data.mask_rate", "no token is guessed"},
    {"data.mask_whole_words", "no token is guessed"},
    {"data.attend_across_documents", "a row is a document"},
    {"parallel.exchange_chunks", "every rank has all experts"},
}};

constexpr std::array<const char*, 5> kOfCustom = {"finetune.text_column", "finetune.pair_column",
                                                  "finetune.label_column", "finetune.labels",
                                                  "finetune.regression"};

template <std::size_t n>
bool holds(const std::array<Decided, n>& keys, std::string_view key) {
  return std::any_of(keys.begin(), keys.end(),
                     [key](const Decided& each) { return key == each.key; });
}

// A rate has a folder of its own.
void check_learning_rates(const config::Config& config, const Said& said) {
  std::vector<double> rates = config.finetune.learning_rates;
  if (rates.empty()) return;
  for (const Origins* const source : {&said.given, &said.in_file}) {
    const bool is_of_pretraining = source == &said.in_file && said.file_pretrains;
    if (is_of_pretraining || !source->contains(kRate) || !source->contains(kRates)) continue;
    throw UsageError(
        fmt::format("{}: {}: not together with {}", source->at(kRate), kRate, kRates),
        fmt::format("keep one: {0} trains with one rate, {1} tries each", kRate, kRates));
  }
  std::sort(rates.begin(), rates.end());
  const auto twice = std::adjacent_find(rates.begin(), rates.end());
  if (twice == rates.end()) return;
  throw UsageError(fmt::format("finetune.learning_rates: {} is there twice", *twice),
                   "list every rate once");
}

// They are of the rows of one's own.
void check_custom_settings(const config::Config& config, bool is_custom) {
  if (is_custom) {
    if (!config.finetune.regression || config.finetune.labels.empty()) return;
    throw UsageError("finetune.labels: not together with finetune.regression",
                     "keep one: of a regression, labels are numbers");
  }
  for (const auto& [key, value] : config::fields_of(config)) {
    const bool is_of_custom = std::find(kOfCustom.begin(), kOfCustom.end(), key) != kOfCustom.end();
    if (!is_of_custom || value == config::find_field(key)->default_text) continue;
    throw UsageError(fmt::format("{}={}: only --task custom has a use for it", key, value),
                     "leave it out: columns and labels of GLUE's tasks are known");
  }
}

}  // namespace

Said::Said(const FinetuneOptions& options)
    : given(config::settings_in(options.overrides)),
      overrides(options.overrides),
      file_pretrains(options.from.empty()) {
  if (!options.config_file.empty()) in_file = config::settings_in(options.config_file);
}

bool Said::at_all(const std::string& key) const {
  if (given.contains(key)) return true;
  return in_file.contains(key) && !(file_pretrains && (key == kWarmup || key == kDecay));
}

bool is_decided(std::string_view key) {
  return holds(kDecided, key);
}

bool is_unread(std::string_view key) {
  return holds(kUnread, key);
}

void refuse_foreign(const Origins& settings) {
  for (const auto& [key, instead] : kDecided) {
    const auto found = settings.find(key);
    if (found == settings.end()) continue;
    throw UsageError(fmt::format("{}: {}: finetune decides this itself", found->second, key),
                     fmt::format("use {}", instead));
  }
  for (const auto& [key, reason] : kUnread) {
    const auto found = settings.find(key);
    if (found == settings.end()) continue;
    throw UsageError(fmt::format("{}: {}: finetune has no use for it", found->second, key),
                     fmt::format("leave it out: {}", reason));
  }
}

void check_finetune_settings(const config::Config& config, const Said& said, bool is_custom) {
  check_learning_rates(config, said);
  check_custom_settings(config, is_custom);
}

}  // namespace switchyard::glue
