// Ranks whose machines have other files than the first one's.
#include "train/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "switchyard/comm/threads.h"
#include "switchyard/core/error.h"
#include "switchyard/train/pretrain.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class Agreement : public ::testing::Test {
 protected:
  Agreement() {
    tiny_.config.train.steps = 2;
    tiny_.config.train.micro_batch_size = 2;
    tiny_.prepare_lines("copy", 400);
    tiny_.prepare_lines("older", 300);
  }

  // On three ranks, of which the last has a configuration of its own.
  void pretrain_with(const std::function<void(config::Config&)>& change) const {
    config::Config config = tiny_.config;
    config.train.global_batch_size = 12;
    comm::run_ranks(3, [&](comm::Communicator& world) {
      config::Config own = config;
      if (world.rank() == 2) change(own);
      (void)pretrain(own, world);
    });
  }

  TinyRunFolder tiny_;
};

TEST_F(Agreement, FoldersMayBeCalledDifferently) {
  EXPECT_NO_THROW(pretrain_with(
      [this](config::Config& config) { config.data.path = (tiny_.folder / "copy").string(); }));
}

TEST_F(Agreement, AnotherSettingOfOneRankIsNamed) {
  EXPECT_THAT(
      [&] { pretrain_with([](config::Config& config) { config.optim.learning_rate = 0.5; }); },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("rank 2 has other input than rank 0"),
                                      HasSubstr("optim.learning_rate is 0.5, not 0.01"))));
  // Before it makes the ranks wait for each other in different places.
  EXPECT_THAT([&] { pretrain_with([](config::Config& config) { config.parallel.expert = 3; }); },
              ThrowsMessage<UsageError>(HasSubstr("parallel.expert is 3, not 1")));
  EXPECT_THAT([&] { pretrain_with([](config::Config& config) { config.run.from = "x"; }); },
              ThrowsMessage<UsageError>(HasSubstr("run.from is set, not not set")));
  EXPECT_THAT([&] { pretrain_with([](config::Config& config) { config.run.seed = 5; }); },
              ThrowsMessage<UsageError>(HasSubstr("run.seed is 5, not")));
}

TEST_F(Agreement, OtherDataOfOneRankIsRefused) {
  EXPECT_THAT(
      [&] {
        pretrain_with([this](config::Config& config) {
          config.data.path = (tiny_.folder / "older").string();
        });
      },
      ThrowsMessage<UsageError>(HasSubstr("rank 2 has other input than rank 0: the training "
                                          "data's hash is")));
}

TEST_F(Agreement, AFactThatOneRankLacksIsADifference) {
  comm::run_ranks(2, [](comm::Communicator& world) {
    Facts facts = {{"a", "1"}};
    if (world.rank() == 1) facts.emplace_back("b", "2");
    EXPECT_THAT([&] { check_ranks_agree(world, facts); },
                ThrowsMessage<UsageError>(HasSubstr("b is 2, not none")));
  });
}

}  // namespace
}  // namespace switchyard::train
