// Runs whose checkpoints are written beside training (train.async_save), on a disk that is held up.
#pragma once

#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <thread>

#include "support/held_disk.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/core/file.h"
#include "switchyard/train/pretrain.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {

namespace fs = std::filesystem;
using testing::HeldDisk;

class SavesBeside : public ::testing::Test {
 protected:
  SavesBeside() {
    tiny_.config.train.async_save = true;
    tiny_.config.train.checkpoint_every = 5;
    tiny_.config.train.keep_last = 10;
    tiny_.config.train.micro_batch_size = tiny_.config.train.global_batch_size / 2;
    tiny_.config.schedule.steps = tiny_.config.train.steps;
  }
  ~SavesBeside() override { HeldDisk::release(); }

  // A run of `num_ranks` in the background; what it throws, get() of the future throws.
  [[nodiscard]] std::future<void> start(std::int64_t num_ranks, const config::Config& config) {
    return std::async(std::launch::async, [num_ranks, config] {
      if (num_ranks == 1) return (void)pretrain(config, *comm::make_self_communicator());
      comm::run_ranks(num_ranks, [&](comm::Communicator& world) { (void)pretrain(config, world); });
    });
  }
  [[nodiscard]] config::Config named(const std::string& run) const {
    config::Config config = tiny_.config;
    config.run.dir = (tiny_.folder / run).string();
    return config;
  }
  [[nodiscard]] fs::path checkpoints(const std::string& run = "run") const {
    return tiny_.folder / run / "checkpoints";
  }
  [[nodiscard]] fs::path step(const std::string& run, int number) const {
    return checkpoints(run) / fmt::format("step-{:06}", number);
  }
  [[nodiscard]] std::string log() const { return read_file(tiny_.folder / "run/log.txt"); }

  static void wait_until(const std::function<bool()>& is_so) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!is_so()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "waited in vain";
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  // Is the record of that step written?
  void wait_for_step(int number) const {
    const std::string record = fmt::format("\"step\":{},", number);
    wait_until([&] {
      std::error_code error;
      const fs::path metrics = tiny_.folder / "run/metrics.jsonl";
      return fs::exists(metrics, error) && read_file(metrics).find(record) != std::string::npos;
    });
  }

  static void wait_for_the_disk() {
    wait_until([] { return HeldDisk::met > 0; });
  }

  static void expect_same_tensors(const fs::path& a, const fs::path& b) {
    const auto left = checkpoint::Checkpoint::open(a);
    const auto right = checkpoint::Checkpoint::open(b);
    for (const auto& of : {&checkpoint::Checkpoint::weights, &checkpoint::Checkpoint::optimizer}) {
      const auto tensors = (left.*of)().copies();
      const auto others = (right.*of)().copies();
      ASSERT_THAT(tensors, ::testing::Not(::testing::IsEmpty()));
      ASSERT_EQ(tensors.size(), others.size());
      for (const auto& [name, tensor] : tensors) {
        EXPECT_TRUE(at::equal(tensor, others.at(name))) << name;
      }
    }
  }

  TinyRunFolder tiny_;
};

// After what is declared before it, such as a run that waits for the disk.
struct ReleaseAtEnd {
  ~ReleaseAtEnd() { HeldDisk::release(); }
};

}  // namespace switchyard::train
