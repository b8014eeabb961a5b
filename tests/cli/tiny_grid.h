// A grid of fine-tuning of seconds: two seeds of an encoder from scratch, on rows it can learn.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "cli/program_runs.h"

namespace switchyard {

inline void write_tiny_grid(const fs::path& folder, int num_train_rows) {
  fs::create_directories(folder / "glue/SST-2");
  for (const auto& [name, count] : {std::pair{"train", num_train_rows}, std::pair{"dev", 23}}) {
    std::ofstream file(folder / "glue/SST-2" / (std::string(name) + ".tsv"));
    file << "sentence\tlabel\n";
    for (int i = 0; i < count; ++i) {
      file << "line " << i * i % 97 << (i % 3 == 0 ? " so good\t1\n" : " so poor\t0\n");
    }
  }
  std::ofstream(folder / "encoder.yaml")
      << "run: {dir: unused, seed: 3}\ndata: {path: unused}\ntrain: {steps: 1}\n"
         "model: {type: encoder, hidden_size: 32, num_layers: 2, num_heads: 2, ffn_size: 48, "
         "moe: {num_experts: 4, expert_size: 24, layers: [1]}}\n";
}

// `finetune` of it into folder/output.
[[nodiscard]] inline Strings finetune_tiny_grid(const fs::path& folder, const std::string& output) {
  return {"finetune",
          folder / "encoder.yaml",
          "--task",
          "sst2",
          "--data",
          folder / "glue",
          "--from",
          "none",
          "--tokenizer",
          "bytes",
          "--output",
          folder / output,
          "--seeds",
          "2",
          "finetune.epochs=3",
          "finetune.max_length=32",
          "train.global_batch_size=16",
          "train.checkpoint_every=1",
          "train.log_every=1"};
}

}  // namespace switchyard
