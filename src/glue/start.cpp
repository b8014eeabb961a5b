#include "glue/start.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glue/said.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/begin.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/load.h"
#include "switchyard/config/ranks.h"
#include "switchyard/config/resume.h"
#include "switchyard/config/values.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/text.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"
#include "switchyard/train/router_meaning.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

// Settings that suit short runs from a pretrained model, in place of pretraining's.
constexpr std::array<std::pair<const char*, const char*>, 19> kDefaults = {{
    {"optim.learning_rate", "1e-3"},    {"optim.weight_decay", "0.01"},
    {"optim.betas", "[0.9, 0.98]"},     {"optim.clip_norm", "1"},
    {"optim.layer_decay", "1"},         {"train.freeze_router", "false"},
    {"schedule.type", "linear"},        {"schedule.final_ratio", "0"},
    {"schedule.decay_steps", "0"},      {"schedule.warmup_steps", "0"},
    {"model.dropout", "0.1"},           {"train.global_batch_size", "32"},
    {"train.early_stop_patience", "5"}, {"train.evaluate_tokens", "0"},
    {"train.keep_last", "1"},           {"train.log_every", "50"},
    {"train.checkpoint_every", "0"},    {"train.sample_every", "0"},
    {"train.max_skipped_steps", "20"},
}};

constexpr const char* kMicroBatch = "train.micro_batch_size";
constexpr const char* kPooling = "finetune.pooling";
constexpr const char* kMaxLength = "finetune.max_length";

// What the weights of a checkpoint fix.
constexpr std::array<const char*, 15> kShape = {"model.type",
                                                "model.vocab_size",
                                                "model.hidden_size",
                                                "model.num_layers",
                                                "model.num_heads",
                                                "model.num_kv_heads",
                                                "model.head_dim",
                                                "model.ffn_size",
                                                "model.qkv_bias",
                                                "model.qk_norm",
                                                "model.moe.num_experts",
                                                "model.moe.expert_size",
                                                "model.moe.shared_expert_size",
                                                "model.moe.shared_expert_gate",
                                                "model.moe.layers"};

// `before`: the model's, of a checkpoint or a file.
std::vector<std::string> with_defaults(const config::Config& before, std::int64_t trained_length,
                                       const Said& said) {
  const auto is_set = [&said](const std::string& key) { return said.at_all(key); };
  std::vector<std::string> overrides;
  // What a model was fine-tuned for before says nothing about this task.
  for (const config::Field& field : config::all_fields()) {
    if (field.key == kMaxLength) continue;  // below
    if (field.key.starts_with("finetune.") && !is_set(field.key)) {
      overrides.push_back(fmt::format("{}={}", field.key, field.default_text));
    }
  }
  for (const auto& [key, value] : kDefaults) {
    if (!is_set(key)) overrides.push_back(fmt::format("{}={}", key, value));
  }
  // Whatever the batch is: one of them, once it is known (take_whole_batches).
  if (!is_set(kMicroBatch)) overrides.push_back(fmt::format("{}=1", kMicroBatch));
  if (!is_set(kMaxLength)) {
    constexpr std::int64_t kLongest = 128;
    overrides.push_back(fmt::format(
        "{}={}", kMaxLength, trained_length > 0 ? std::min(kLongest, trained_length) : kLongest));
  }
  if (!is_set(kPooling) && before.model.is_causal()) {
    overrides.push_back(fmt::format("{}=last", kPooling));
  }
  // The later source counts, as of two ways to say one thing.
  if (said.given.contains(kRate) && !said.given.contains(kRates)) {
    overrides.push_back(fmt::format("{}=[]", kRates));
  }
  overrides.emplace_back("run.from=");
  // Of each task by its rows; here only not in the way of a check.
  overrides.emplace_back("train.steps=1000000000");
  overrides.emplace_back("schedule.steps=0");
  overrides.emplace_back("parallel.expert=1");
  // Whatever a file of --from none says for pretraining.
  overrides.emplace_back("train.keep_best=true");
  overrides.emplace_back("train.calibrate=false");
  overrides.insert(overrides.end(), said.overrides.begin(), said.overrides.end());
  return overrides;
}

void take_whole_batches(config::Config& config, const Said& said) {
  if (!said.at_all(kMicroBatch)) config.train.micro_batch_size = config.train.global_batch_size;
}

void check_shape(const config::Config& before, const config::Config& config,
                 const checkpoint::Checkpoint& checkpoint) {
  for (const config::Change& change : config::changes(before, config)) {
    if (std::find(kShape.begin(), kShape.end(), change.key) == kShape.end()) continue;
    throw UsageError(fmt::format("{}: {} was trained with {}, not {}", change.key,
                                 checkpoint.folder().string(), change.before, change.after),
                     "leave it out: sizes and experts are the checkpoint's");
  }
}

void check_pooling(const config::Config& config) {
  if (!config.model.is_causal() || config.finetune.pooling != "first") return;
  throw UsageError("finetune.pooling: the first token of a decoder has seen no other",
                   "choose last, mean or pair");
}

data::Tokenizer tokenizer_of(const std::string& name) {
  if (name == "bytes") return data::Tokenizer::byte_level();
  return data::Tokenizer::load(name);
}

// A warm-up of the routers was for the first steps of pretraining.
void end_router_warmup(const config::MoeConfig& before, const Said& said,
                       std::vector<std::string>& overrides) {
  const auto end = [&](const std::string& prefix, const config::RouterConfig& router) {
    const std::string key = prefix + ".p_warmup";
    if (!config::find_field("model.moe.router.p_warmup")->known_to(router.type)) return;
    if (!said.at_all(key) && !said.at_all(prefix + ".type")) overrides.push_back(key + "=none");
  };
  const std::string router = "model.moe.router";
  end(router, before.router);
  for (const auto& [layer, of_layer] : before.router_of_layer) {
    end(fmt::format("{}.per_layer.{}", router, layer), of_layer);
  }
}

Start from_checkpoint(const FinetuneOptions& options) {
  const auto checkpoint = checkpoint::Checkpoint::open(options.from);
  const config::Config before = train::config_of(checkpoint);
  const auto load = [&](const std::vector<std::string>& overrides) {
    return options.config_file.empty()
               ? config::load(checkpoint.config(), overrides)
               : config::load_over(checkpoint.config(), options.config_file, overrides);
  };
  const Said said(options);
  refuse_foreign(said.given);
  refuse_foreign(said.in_file);
  std::vector<std::string> overrides = with_defaults(before, before.data.sequence_length, said);
  end_router_warmup(before.model.moe, said, overrides);
  config::Config config = load(overrides).config;
  take_whole_batches(config, said);
  check_shape(before, config, checkpoint);
  data::Tokenizer tokenizer = data::Tokenizer::load(checkpoint.tokenizer());
  train::fill_vocab_size(config, tokenizer);
  std::string fingerprint = to_hex(xxh3(read_file(checkpoint.folder() / "manifest.json")));
  std::vector<std::int64_t> fresh = train::fresh_routers(before.model, config.model);
  return {.config = std::move(config),
          .tokenizer = std::move(tokenizer),
          .model = PretrainedModel{.folder = checkpoint.folder().string(),
                                   .weights = checkpoint.weights(),
                                   .router_state = checkpoint.router_state(),
                                   .config = before.model},
          .fingerprint = std::move(fingerprint),
          .fresh_routers = std::move(fresh)};
}

Start from_scratch(const FinetuneOptions& options) {
  std::vector<std::string> given = {"train.steps=1000000000", "schedule.steps=0",
                                    fmt::format("{}=0", kWarmup), fmt::format("{}=0", kDecay),
                                    fmt::format("{}=1", kMicroBatch)};
  given.insert(given.end(), options.overrides.begin(), options.overrides.end());
  const Said said(options);
  refuse_foreign(said.given);  // the file is one of pretraining
  // Which needs what is decided here; a file of the model alone has none of it.
  std::vector<std::string> unsaid;
  if (!said.at_all("run.dir")) unsaid.emplace_back("run.dir=none");
  if (!said.at_all("data.path") && !said.at_all("data.blend")) {
    unsaid.emplace_back("data.path=none");
  }
  given.insert(given.begin(), unsaid.begin(), unsaid.end());
  const config::Resolved file = config::load(options.config_file, given);
  std::vector<std::string> overrides = with_defaults(file.config, 0, said);
  overrides.insert(overrides.begin(), unsaid.begin(), unsaid.end());
  config::Config config = config::load(options.config_file, overrides).config;
  take_whole_batches(config, said);
  data::Tokenizer tokenizer = tokenizer_of(options.tokenizer);
  train::fill_vocab_size(config, tokenizer);
  std::string fingerprint = tokenizer.hash();
  return {.config = std::move(config),
          .tokenizer = std::move(tokenizer),
          .model = std::nullopt,
          .fingerprint = std::move(fingerprint)};
}

}  // namespace

config::Config config_of(const FinetuneOptions& options, std::int64_t num_ranks) {
  return open_start(options, num_ranks).config;
}

Start open_start(const FinetuneOptions& options, std::int64_t num_ranks) {
  Start start = options.from.empty() ? from_scratch(options) : from_checkpoint(options);
  check_pooling(start.config);
  const Said said(options);
  check_finetune_settings(start.config, said, options.tasks.empty());
  start.has_own_micro_batch = said.at_all(kMicroBatch);
  start.has_own_pooling = said.at_all(kPooling);
  start.has_own_warmup = said.at_all(kWarmup);
  // One micro-step on any number of ranks, on which the load-balance loss depends.
  if (!start.has_own_micro_batch && start.config.train.micro_batch_size % num_ranks == 0) {
    start.config.train.micro_batch_size /= num_ranks;
  }
  config::check_ranks(start.config, num_ranks);
  // What a row may have is what the model is built for.
  start.config.data.sequence_length = start.config.finetune.max_length;
  return start;
}

std::vector<std::string> settings_of(const Start& start) {
  constexpr std::array<std::string_view, 5> kGroups = {"optim.", "schedule.", "train.", "finetune.",
                                                       "parallel."};
  const auto follows = [&start](const std::string& key) {
    if (key == kMicroBatch) return !start.has_own_micro_batch;
    if (key == kWarmup) return !start.has_own_warmup;
    if (key == kRate) return !start.config.finetune.learning_rates.empty();
    if (key == kPooling) return !start.has_own_pooling;
    return is_unread(key) || is_decided(key);
  };
  std::vector<std::string> settings;
  for (const auto& [key, value] : config::fields_of(start.config)) {
    const bool is_of_group =
        std::any_of(kGroups.begin(), kGroups.end(),
                    [&key](std::string_view group) { return key.starts_with(group); });
    const bool is_wanted = is_of_group || key == "run.seed" || key == "model.dropout";
    if (is_wanted && !follows(key)) settings.push_back(fmt::format("{}={}", key, value));
  }
  return settings;
}

void load_trunk(model::Model& classifier, const config::ModelConfig& config,
                const PretrainedModel& pretrained) {
  const auto belongs_to_a_head = [](const std::string& name) {
    return name.starts_with("classifier.") || name.starts_with("lm_head.");
  };
  // A head of another task, of a checkpoint that was fine-tuned itself, is not this one's.
  const checkpoint::UnmatchedNames unmatched = train::load_known_weights(
      classifier, pretrained.weights,
      [&](const ops::Parameter& parameter) { return !belongs_to_a_head(parameter.name); });
  for (const auto* names : {&unmatched.missing, &unmatched.unknown}) {
    const auto found = std::find_if_not(names->begin(), names->end(), belongs_to_a_head);
    if (found == names->end()) continue;
    throw DataError(
        fmt::format("{}: its model is another one: '{}' is {}", pretrained.folder, *found,
                    names == &unmatched.missing ? "missing" : "not a part of it"),
        "sizes and experts are the checkpoint's; leave model.* out");
  }
  (void)train::take_over_router_state(classifier, pretrained.router_state,
                                      train::routers_that_mean_the_same(pretrained.config, config),
                                      /*step=*/0);
}

}  // namespace switchyard::glue
