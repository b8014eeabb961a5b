// Whole runs of the program on a small text, and what they leave.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "support/program.h"
#include "support/temporary_folder.h"
#include "switchyard/core/file.h"

namespace switchyard {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;
using testing::Program;

class ProgramRuns : public ::testing::Test {
 protected:
  static constexpr int kSteps = 40;

  // The folders of the build and of the sources.
  ProgramRuns(const fs::path& binaries, const fs::path& sources)
      : program_(binaries / "switchyard"), configs_(sources / "configs") {}

  void SetUp() override {
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 600; ++i) text << "line " << i * i % 97 << " of the book\n";
    text.close();
    ASSERT_EQ(run({"prepare", "--input", folder_ / "text.txt", "--tokenizer", "bytes", "--output",
                   folder_ / "data"}),
              0)
        << messages();
  }

  int run(const Strings& arguments) {
    Program program(program_, arguments, folder_ / "messages.txt");
    return program.wait();
  }

  [[nodiscard]] std::string messages() const { return read_file(folder_ / "messages.txt"); }

  [[nodiscard]] Strings pretrain(const std::string& name, const Strings& more) const {
    Strings arguments{"pretrain",
                      configs_ / "tiny.yaml",
                      "data.path=" + (folder_ / "data").string(),
                      "run.dir=" + (folder_ / name).string(),
                      "train.steps=" + std::to_string(num_steps_),
                      "train.checkpoint_every=3",
                      "train.evaluate_every=10",
                      "train.sample_every=20",
                      "train.sample_prompt=line",
                      "train.sample_tokens=4",
                      "model.dropout=0.1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  // Step -> loss as text, by the rule for readers: a resume voids later steps.
  [[nodiscard]] std::map<std::int64_t, std::string> losses(const std::string& name) const {
    std::map<std::int64_t, std::string> found;
    std::istringstream lines(read_file(folder_ / (name + "/metrics.jsonl")));
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json record = nlohmann::json::parse(line);
      const auto step = record["step"].get<std::int64_t>();
      if (record.value("event", "") == "resume") found.erase(found.upper_bound(step), found.end());
      if (!record.contains("event")) {
        found[step] = record["loss"].dump() + " " + record["grad_norm"].dump() + " " +
                      record["tokens"].dump();
      }
    }
    return found;
  }

  [[nodiscard]] fs::path last_checkpoint(const std::string& name) const {
    return folder_ / fmt::format("{}/checkpoints/step-{:06}", name, num_steps_);
  }

  // The tensor files of the last checkpoint.
  [[nodiscard]] std::set<std::string> tensor_files(const std::string& name) const {
    std::set<std::string> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(last_checkpoint(name), error)) {
      if (entry.path().extension() == ".safetensors") files.insert(entry.path().filename());
    }
    return files;
  }

  void expect_same_end(const std::string& a, const std::string& b,
                       bool with_router_state = false) const {
    EXPECT_EQ(losses(a), losses(b));
    EXPECT_EQ(losses(a).size(), static_cast<std::size_t>(num_steps_));
    const std::set<std::string> names = tensor_files(a);
    EXPECT_EQ(names.contains("router_state.safetensors"), with_router_state);
    EXPECT_GE(names.size(), 2U);
    EXPECT_EQ(names, tensor_files(b));
    for (const std::string& name : names) {
      EXPECT_EQ(read_file(last_checkpoint(a) / name), read_file(last_checkpoint(b) / name)) << name;
    }
  }

  int num_steps_ = kSteps;
  fs::path program_;
  fs::path configs_;
  testing::TemporaryFolder folder_;
};

}  // namespace switchyard
