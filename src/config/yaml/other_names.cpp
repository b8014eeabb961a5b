#include "config/yaml/other_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace switchyard::config {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

// Of nanoGPT, Hugging Face, Megatron-LM, torchtitan.
constexpr std::array kKeys = {
    Names{"batch_size", "train.global_batch_size"},
    Names{"train_batch_size", "train.global_batch_size"},
    Names{"per_device_train_batch_size", "train.micro_batch_size"},
    Names{"gradient_accumulation_steps", "train.micro_batch_size"},
    Names{"steps", "train.steps"},
    Names{"max_steps", "train.steps"},
    Names{"max_iters", "train.steps"},
    Names{"train_iters", "train.steps"},
    Names{"training_steps", "train.steps"},
    Names{"num_train_steps", "train.steps"},
    Names{"save_steps", "train.checkpoint_every"},
    Names{"save_interval", "train.checkpoint_every"},
    Names{"eval_steps", "train.evaluate_every"},
    Names{"eval_interval", "train.evaluate_every"},
    Names{"logging_steps", "train.log_every"},
    Names{"log_interval", "train.log_every"},
    Names{"save_total_limit", "train.keep_last"},
    Names{"dtype", "train.precision"},
    Names{"mixed_precision", "train.precision"},
    Names{"gradient_checkpointing", "train.recompute"},
    Names{"activation_checkpointing", "train.recompute"},
    Names{"d_model", "model.hidden_size"},
    Names{"n_embd", "model.hidden_size"},
    Names{"embed_dim", "model.hidden_size"},
    Names{"n_layer", "model.num_layers"},
    Names{"n_layers", "model.num_layers"},
    Names{"num_hidden_layers", "model.num_layers"},
    Names{"n_head", "model.num_heads"},
    Names{"n_heads", "model.num_heads"},
    Names{"num_attention_heads", "model.num_heads"},
    Names{"num_key_value_heads", "model.num_kv_heads"},
    Names{"intermediate_size", "model.ffn_size"},
    Names{"ffn_hidden_size", "model.ffn_size"},
    Names{"d_ff", "model.ffn_size"},
    Names{"tie_word_embeddings", "model.tie_embeddings"},
    Names{"n_experts", "model.moe.num_experts"},
    Names{"num_local_experts", "model.moe.num_experts"},
    Names{"moe_intermediate_size", "model.moe.expert_size"},
    Names{"router_type", "model.moe.router.type"},
    Names{"topk", "model.moe.router.k"},
    Names{"num_experts_per_tok", "model.moe.router.k"},
    Names{"moe_router_topk", "model.moe.router.k"},
    Names{"topp", "model.moe.router.p"},
    Names{"router_aux_loss_coef", "model.moe.loss.load_balance"},
    Names{"moe_aux_loss_coeff", "model.moe.loss.load_balance"},
    Names{"block_size", "data.sequence_length"},
    Names{"seq_len", "data.sequence_length"},
    Names{"max_seq_length", "data.sequence_length"},
    Names{"context_length", "data.sequence_length"},
    Names{"mlm_probability", "data.mask_rate"},
    Names{"max_lr", "optim.learning_rate"},
    Names{"max_grad_norm", "optim.clip_norm"},
    Names{"grad_clip", "optim.clip_norm"},
    Names{"lr_scheduler_type", "schedule.type"},
    Names{"lr_decay_style", "schedule.type"},
    Names{"lr_decay_iters", "schedule.steps"},
    Names{"warmup_iters", "schedule.warmup_steps"},
    Names{"expert_parallel_size", "parallel.expert"},
    Names{"expert_model_parallel_size", "parallel.expert"},
    Names{"output_dir", "run.dir"},
    Names{"out_dir", "run.dir"},
    Names{"data_dir", "data.path"},
    Names{"dataset", "data.path"},
};

constexpr std::array kValues = {
    Names{"gpu", "cuda"},      Names{"nvidia", "cuda"},  Names{"float32", "fp32"},
    Names{"bfloat16", "bf16"}, Names{"float64", "fp64"}, Names{"mlm", "encoder"},
    Names{"bert", "encoder"},  Names{"gpt", "decoder"},  Names{"cosine_with_min_lr", "cosine"},
};

// In small letters, without what separates words.
std::string folded(std::string_view name) {
  std::string letters;
  for (const char c : name) {
    if (c == '_' || c == '-') continue;
    letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return letters;
}

std::string_view ours(std::span<const Names> table, std::string_view name) {
  const std::string given = folded(name);
  const auto found = std::find_if(table.begin(), table.end(), [&given](const Names& names) {
    return folded(names.first) == given;
  });
  return found == table.end() ? std::string_view() : found->second;
}

}  // namespace

std::span<const Names> other_key_names() {
  return kKeys;
}

std::string_view key_called_elsewhere(std::string_view name) {
  return ours(kKeys, name);
}

std::string_view value_called_elsewhere(std::string_view value) {
  return ours(kValues, value);
}

}  // namespace switchyard::config
