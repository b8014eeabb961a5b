#include "switchyard/config/begin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::ThrowsMessage;

class SettingsOverAConfig : public ::testing::Test {
 protected:
  SettingsOverAConfig() {
    write("base.yaml",
          "run: {dir: runs/x}\ndata: {path: d}\ntrain: {steps: 10}\noptim: {eps: 1e-6}\n"
          "model: {hidden_size: 8, num_layers: 1, num_heads: 2, ffn_size: 8}\n");
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  [[nodiscard]] Resolved over(const std::vector<std::string>& overrides = {}) const {
    return load_over(folder_ / "base.yaml", folder_ / "settings.yaml", overrides);
  }

  testing::TemporaryFolder folder_;
};

TEST_F(SettingsOverAConfig, WinOverItAndLoseAgainstTheCommandLine) {
  write("more.yaml", "optim: {eps: 1e-5, weight_decay: 0.5}\n");
  write("settings.yaml", "extends: more.yaml\noptim:\n  weight_decay: 0.25\n");
  const std::vector<std::string> overrides = {"train.steps=7"};
  const Resolved resolved = over(overrides);
  EXPECT_EQ(resolved.config.model.hidden_size, 8);
  EXPECT_EQ(resolved.config.optim.eps, 1e-5);
  EXPECT_EQ(resolved.config.optim.weight_decay, 0.25);
  EXPECT_EQ(resolved.config.train.steps, 7);
  EXPECT_THAT(resolved.origin_of_key.at("optim.weight_decay"), HasSubstr("settings.yaml:3"));
}

TEST_F(SettingsOverAConfig, AreCheckedAsAnyFile) {
  write("settings.yaml", "optim: {wieght_decay: 1}\nmodel: {num_heads: 3}\n");
  EXPECT_THAT([&] { (void)over(); },
              ThrowsMessage<ConfigError>(
                  AllOf(HasSubstr("settings.yaml:1"), HasSubstr("did you mean 'weight_decay'"))));
}

TEST_F(SettingsOverAConfig, WhatAFileSetsIsKnownWithItsPlace) {
  write("settings.yaml", "optim: {eps: 1e-5}\n\ntrain: {steps: 3}\n");
  EXPECT_THAT(settings_in(folder_ / "settings.yaml"),
              ElementsAre(Pair("optim.eps", HasSubstr("settings.yaml:1")),
                          Pair("train.steps", HasSubstr("settings.yaml:3"))));
  EXPECT_THAT([&] { (void)settings_in(folder_ / "nothing.yaml"); },
              ThrowsMessage<ConfigError>(HasSubstr("nothing.yaml")));
}

TEST_F(SettingsOverAConfig, OneValueIsKnownWithoutAWholeConfiguration) {
  write("model.yaml", "model: {type: encoder}\n");
  write("device.yaml", "extends: model.yaml\ntrain: {device: cuda}\n");
  const auto device = [&](std::vector<std::filesystem::path> files,
                          const std::vector<std::string>& overrides = {}) {
    for (std::filesystem::path& file : files) file = folder_ / file.string();
    return value_set("train.device", files, overrides);
  };
  EXPECT_EQ(device({"model.yaml"}), std::nullopt);
  EXPECT_EQ(device({"device.yaml"}), "cuda");
  EXPECT_EQ(device({"device.yaml", "model.yaml"}), "cuda");
  const std::vector<std::string> cpu = {"train.device=cpu"};
  EXPECT_EQ(device({"device.yaml"}, cpu), "cpu");
  write("wrong.yaml", "train: {devise: cuda}\n");
  EXPECT_THAT(
      [&] {
        (void)device({"device.yaml", "wrong.yaml"});
      },
      ThrowsMessage<ConfigError>(HasSubstr("did you mean 'device'")));
}

}  // namespace
}  // namespace switchyard::config
