#include "train/run/resume_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/damage.h"
#include "switchyard/core/error.h"
#include "train/run/training_state.h"

namespace switchyard::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TrainingState some_state() {
  return {.trainer = {.step = 12, .next_window = 96, .num_updates = 11, .num_skipped_in_a_row = 1},
          .totals = {.tokens = 4096, .skipped = 1},
          .best = {.loss = 0.1 + 0.2, .step = 8, .num_without_improvement = 2},
          .evaluated_step = 12,
          .sampled_step = 10,
          .data_fingerprint = "00ff"};
}

TEST(TrainingStateFile, GivesEveryMemberBack) {
  const TrainingState state = some_state();
  const TrainingState again = parse_training_state(to_json(state), "x");
  EXPECT_EQ(to_json(again), to_json(state));
  EXPECT_EQ(again.trainer.num_updates, 11);
  EXPECT_EQ(again.trainer.num_skipped_in_a_row, 1);
  EXPECT_EQ(again.totals.skipped, 1);
  EXPECT_EQ(again.best.loss, 0.1 + 0.2);  // to the last bit
  EXPECT_EQ(again.sampled_step, 10);
}

TEST(TrainingStateFile, NumbersThatNoRunHasAreRefusedWithTheirName) {
  for (const char* value :
       {"-1", "1e300", "12.5", "true", "9223372036854775807", "null", "\"9\""}) {
    std::string text = to_json(some_state());
    const std::string member = "\"next_window\": 96";
    text.replace(text.find(member), member.size(), std::string("\"next_window\": ") + value);
    EXPECT_THAT([&] { (void)parse_training_state(text, "state.json"); },
                ::testing::ThrowsMessage<DataError>(
                    ::testing::AllOf(HasSubstr("state.json"), HasSubstr("next_window"))))
        << value;
  }
}

TEST(TrainingStateFile, DamageIsADataErrorAndNeverACrash) {
  const auto read = [](std::span<const std::byte> bytes) {
    (void)parse_training_state({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "x");
  };
  const std::string text = to_json(some_state());
  const auto cut = testing::read_every_truncation(text, read);
  EXPECT_GE(cut.refused + 2, cut.tried);  // all but the last newline
  EXPECT_GT(testing::read_byte_flips(text, read).refused, 0U);
}

TEST(EnvironmentDifferences, NameWhatMayChangeTheLastBits) {
  const std::map<std::string, std::string> then{
      {"cpu", "A"}, {"threads", "2"}, {"omp_wait_policy", "PASSIVE"}};
  EXPECT_TRUE(differences_of_environment(then, then).empty());
  std::map<std::string, std::string> now = then;
  now["threads"] = "8";
  now["omp_wait_policy"] = "";
  EXPECT_THAT(differences_of_environment(then, now), ElementsAre("threads: 2 then, 8 now"));
  EXPECT_THAT(differences_of_environment({{"device", "cuda:0"}, {"gpu", "H100"}},
                                         {{"device", "cuda:0"}, {"gpu", "A100"}}),
              ElementsAre("gpu: H100 then, A100 now"));
}

}  // namespace
}  // namespace switchyard::train
