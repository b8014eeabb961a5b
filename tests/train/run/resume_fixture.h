// Runs that are stopped, resumed and compared with runs that never stopped.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/config/load.h"
#include "switchyard/config/router.h"
#include "switchyard/core/file.h"
#include "switchyard/train/pretrain.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {

namespace fs = std::filesystem;

class Resume : public ::testing::Test {
 protected:
  Resume() {
    config_.schedule.steps = config_.train.steps;  // a stopped run keeps the schedule
    config_.model.dropout = 0.1;
    config_.train.checkpoint_every = 7;
    config_.train.evaluate_every = 4;
    config_.train.keep_last = 10;
    tiny_.prepare_lines("other", 300);
  }

  // Resumes from the checkpoint of step `stop`, as after a kill before the next one: later ones are
  // removed.
  void resume_after(const std::string& run, std::int64_t stop,
                    const config::AllowedChanges& allowed = {},
                    const std::function<void(config::Config&)>& change = {}) const {
    const fs::path checkpoints = tiny_.folder / (run + "/checkpoints");
    for (const fs::path& step : checkpoint::steps_in(checkpoints)) {
      if (checkpoint::step_of(step) > stop) fs::remove_all(step);
    }
    config::Config config = config::load(tiny_.folder / (run + "/config.resolved.yaml"), {}).config;
    if (change) change(config);
    (void)resume(config, allowed);
  }

  void train_at_once(const std::string& run) const {
    config::Config config = config_;
    config.run.dir = (tiny_.folder / run).string();
    (void)pretrain(config);
  }

  [[nodiscard]] fs::path last_checkpoint(const std::string& run) const {
    return tiny_.folder / (run + "/checkpoints/step-000020");
  }

  void expect_same_files(const std::string& a, const std::string& b) const {
    for (const char* name : {"model.safetensors", "optimizer.safetensors", "training_state.json"}) {
      EXPECT_EQ(read_file(last_checkpoint(a) / name), read_file(last_checkpoint(b) / name)) << name;
    }
    const char* const state = "router_state.safetensors";
    const config::RouterConfig& router = config_.model.moe.router;
    const auto state_of = config::descriptor_of(router).state;
    ASSERT_EQ(fs::exists(last_checkpoint(a) / state),
              state_of != nullptr && !state_of(router, true).empty());
    if (fs::exists(last_checkpoint(a) / state)) {
      EXPECT_EQ(read_file(last_checkpoint(a) / state), read_file(last_checkpoint(b) / state));
    }
  }

  void expect_same_losses(const std::string& a, const std::string& b) const {
    const auto first = tiny_.step_records(a);
    const auto second = tiny_.step_records(b);
    ASSERT_EQ(first.size(), second.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      for (const char* key : {"step", "tokens", "loss", "lm_loss", "grad_norm", "learning_rate",
                              "experts_per_token", "skipped_steps"}) {
        EXPECT_EQ(first[i][key], second[i][key]) << key << " of record " << i;
      }
    }
  }

  // Takes its record out of the metrics.
  void forget_evaluation(std::int64_t step) const {
    std::string kept;
    for (const format::Json& record : tiny_.records()) {
      if (record.value("event", "") == "evaluation" && record["step"] == step) continue;
      kept += record.dump() + "\n";
    }
    write_file_atomically(tiny_.folder / "run/metrics.jsonl", kept);
  }

  static constexpr std::int64_t kBytesVocab = 257;
  TinyRunFolder tiny_;
  config::Config& config_ = tiny_.config;
};

}  // namespace switchyard::train
