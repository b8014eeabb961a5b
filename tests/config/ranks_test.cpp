#include "switchyard/config/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

using ::testing::HasSubstr;

Config config_of(std::int64_t expert, std::int64_t global_batch, std::int64_t micro_batch) {
  Config config;
  config.model.moe.num_experts = 8;
  config.parallel.expert = expert;
  config.train.global_batch_size = global_batch;
  config.train.micro_batch_size = micro_batch;
  return config;
}

std::string message_of(const Config& config, std::int64_t num_ranks) {
  try {
    check_ranks(config, num_ranks);
  } catch (const UsageError& error) {
    return std::string(error.what()) + "\n" + error.hint();
  }
  return "no error";
}

TEST(CheckRanks, TakesWhatGoesTogether) {
  EXPECT_EQ(message_of(config_of(1, 32, 32), 1), "no error");
  EXPECT_EQ(message_of(config_of(2, 32, 8), 4), "no error");
  EXPECT_EQ(message_of(config_of(8, 32, 2), 8), "no error");
}

TEST(CheckRanks, SaysWhatWouldDo) {
  EXPECT_THAT(
      message_of(config_of(4, 32, 4), 2),
      HasSubstr("parallel.expert: 2 ranks cannot be cut into groups of 4; here 1, 2 would"));
  EXPECT_THAT(message_of(config_of(4, 32, 4), 1), HasSubstr("switchyard launch --nproc 4"));
  EXPECT_THAT(message_of(config_of(1, 32, 16), 4),
              HasSubstr("32 samples cannot be cut into micro-batches of 16 on 4 ranks; with "
                        "train.micro_batch_size 1, 2, 4, 8 it can"));
  EXPECT_THAT(message_of(config_of(1, 32, 1), 3), HasSubstr("it is no multiple of 3"));
  const std::string both = message_of(config_of(4, 32, 16), 6);
  EXPECT_THAT(both, HasSubstr("parallel.expert"));
  EXPECT_THAT(both, HasSubstr("train.global_batch_size"));
}

}  // namespace
}  // namespace switchyard::config
