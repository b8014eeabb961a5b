#include "switchyard/comm/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"

namespace switchyard::comm {
namespace {

using ::testing::ElementsAre;

TEST(TextBetweenRanks, OfAnyLengthComesInTheOrderOfRanks) {
  run_ranks(3, [](Communicator& ranks) {
    const std::vector<std::string> own = {"", std::string("a\0b", 3), std::string(100'000, 'x')};
    const auto rank = static_cast<std::size_t>(ranks.rank());
    EXPECT_EQ(all_gather_text(ranks, own[rank], "test"), own);
  });
  run_ranks(2, [](Communicator& ranks) {
    EXPECT_THAT(all_gather_text(ranks, "", "nothing"), ElementsAre("", ""));
  });
}

TEST(TextBetweenRanks, OfTheFirstIsEverybodys) {
  run_ranks(3, [](Communicator& ranks) {
    EXPECT_EQ(text_of_first(ranks, ranks.rank() == 0 ? "runs/a" : "other", "folder"), "runs/a");
    EXPECT_EQ(text_of_first(ranks, ranks.rank() == 0 ? "" : "other", "folder"), "");
  });
}

TEST(TextBetweenRanks, AloneIsOnesOwn) {
  const auto self = make_self_communicator();
  EXPECT_THAT(all_gather_text(*self, "one", "test"), ElementsAre("one"));
  EXPECT_EQ(text_of_first(*self, "one", "test"), "one");
}

}  // namespace
}  // namespace switchyard::comm
