// The plain structs that hold one resolved run. Defaults, ranges, units and help live in the field
// table (config/field_table.h), which fills these; a rule across fields is in config/validate.cpp.
// The options of a router are its own (config/router_config.h).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/config/router_config.h"

namespace switchyard::config {

struct RunConfig {
  std::string dir;  // run folder
  std::uint64_t seed = 0;
  std::string from;  // run or checkpoint whose weights pretraining begins with; empty: the seed's
  bool operator==(const RunConfig&) const = default;
};

struct BlendItem {
  std::string path;
  double weight = 1.0;
  bool operator==(const BlendItem&) const = default;
};

struct DataConfig {
  std::string path;              // folder written by `prepare`; or use blend
  std::vector<BlendItem> blend;  // several prepared folders (same tokenizer) with weights
  std::int64_t sequence_length = 256;
  bool attend_across_documents = true;
  double mask_rate = 0.15;        // encoders: share of the tokens that are to be guessed
  bool mask_whole_words = false;  // encoders
  bool operator==(const DataConfig&) const = default;
};

// A number on its way from `from` to where it belongs, in `steps` equal parts.
struct PWarmup {
  double from = 1.0;
  std::int64_t steps = 0;
  bool operator==(const PWarmup&) const = default;
};

struct MoeLossConfig {
  double load_balance = 1e-2;
  double dynamic = 0.0;  // load_balance, dynamic and normalize: defaults of the router's descriptor
  double z = 0.0;
  std::string normalize = "assignments";  // tokens | assignments
  std::string scope = "global";           // global | sequence | local
  bool operator==(const MoeLossConfig&) const = default;
};

struct MoeConfig {
  std::int64_t num_experts = 0;         // 0 = no MoE layer
  std::int64_t expert_size = 0;         // F
  std::int64_t shared_expert_size = 0;  // of the SwiGLU that every token passes; 0 = none
  bool shared_expert_gate = false;      // its result times a learned share of the token
  std::int64_t every = 1;
  std::int64_t first = 0;
  std::vector<std::int64_t> layers;  // resolved placement, ascending; wins over every/first
  std::string compute = "auto";      // ExpertCompute: auto | loop | grouped_mm | cutlass
  RouterConfig router;
  std::map<std::int64_t, RouterConfig> router_of_layer;  // fully resolved per-layer overrides
  MoeLossConfig loss;
  bool operator==(const MoeConfig&) const = default;
};

struct ModelConfig {
  std::string preset;
  std::string type = "decoder";  // decoder | encoder
  std::int64_t vocab_size = 0;   // 0 = the tokenizer's
  std::int64_t hidden_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;  // resolved: defaults to num_heads
  std::int64_t head_dim = 0;      // resolved: defaults to hidden_size / num_heads
  std::int64_t ffn_size = 0;      // dense SwiGLU intermediate size
  bool tie_embeddings = true;
  double dropout = 0.0;
  bool qkv_bias = false;
  bool qk_norm = false;
  double rope_theta = 10000.0;
  double norm_eps = 1e-6;
  double init_std = 0.02;
  MoeConfig moe;

  // Does a token see only itself and earlier ones?
  [[nodiscard]] bool is_causal() const { return type != "encoder"; }
  [[nodiscard]] const RouterConfig& router_at(std::int64_t layer) const {
    const auto found = moe.router_of_layer.find(layer);
    return found == moe.router_of_layer.end() ? moe.router : found->second;
  }
  bool operator==(const ModelConfig&) const = default;
};

struct OptimConfig {
  double learning_rate = 3e-3;
  double weight_decay = 0.1;
  double clip_norm = 1.0;
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double layer_decay = 1.0;  // of the learning rate, per layer from the head down
  bool operator==(const OptimConfig&) const = default;
};

struct ScheduleConfig {
  std::string type = "cosine";  // cosine | linear | warmup_stable_decay | constant
  std::int64_t steps = 0;       // 0 = train.steps
  std::int64_t warmup_steps = 0;
  double final_ratio = 0.1;
  std::int64_t decay_steps = 0;  // warmup_stable_decay only: default a tenth of the steps
  bool operator==(const ScheduleConfig&) const = default;
};

struct TrainConfig {
  std::int64_t steps = 0;
  std::int64_t global_batch_size = 8;  // sequences per step
  std::int64_t micro_batch_size = 8;   // sequences per rank and micro-step
  std::string precision = "fp32";      // fp32 | bf16 | fp64
  bool recompute = false;
  std::string device = "cpu";  // cpu | cuda
  bool deterministic = false;
  std::int64_t log_every = 10;
  std::int64_t evaluate_every = 0;   // 0 = only at the end
  std::int64_t evaluate_tokens = 0;  // 0 = the whole validation split
  std::int64_t checkpoint_every = 0;
  bool async_save = false;
  std::int64_t keep_last = 2;
  bool keep_best = false;
  std::int64_t early_stop_patience = 0;  // evaluations; 0 = never
  bool calibrate = false;                // fit a temperature at the end
  std::int64_t sample_every = 0;         // 0 = only at the end
  std::string sample_prompt;
  std::int64_t sample_tokens = 64;
  std::int64_t max_skipped_steps = 20;
  bool freeze_router = false;  // weights and state of routers stay as they are
  bool operator==(const TrainConfig&) const = default;
};

struct ParallelConfig {
  std::int64_t expert = 1;
  std::int64_t exchange_chunks = 1;
  std::int64_t start_timeout = 1800;  // seconds, until the first step is done
  std::int64_t timeout = 600;         // seconds, afterwards
  bool shard_optimizer = true;
  // Has each of so many ranks its part of the moments alone?
  [[nodiscard]] bool shares_out_moments(std::int64_t num_ranks) const {
    return shard_optimizer && num_ranks > 1;
  }
  bool operator==(const ParallelConfig&) const = default;
};

// Fine-tuning a pretrained model for one task.
struct FinetuneConfig {
  double epochs = 3.0;            // passes over the task's training rows
  std::int64_t max_length = 128;  // tokens of a row, special ones included; longer texts are cut
  std::string pooling = "pair";   // pair | mean | first | last: which hidden states the head reads
  std::int64_t max_rows = 0;      // training rows, drawn once; 0 = all
  std::vector<double> learning_rates;  // of which dev chooses one; empty: optim.learning_rate
  // --task custom: where its files have what.
  std::string text_column = "text";
  std::string pair_column;  // empty: one text
  std::string label_column = "label";
  std::string labels;       // names in the order of classes, with commas; empty: the files'
  bool regression = false;  // labels are numbers
  bool operator==(const FinetuneConfig&) const = default;
};

struct Config {
  RunConfig run;
  DataConfig data;
  ModelConfig model;
  OptimConfig optim;
  ScheduleConfig schedule;
  TrainConfig train;
  ParallelConfig parallel;
  FinetuneConfig finetune;
  bool operator==(const Config&) const = default;
};

}  // namespace switchyard::config
