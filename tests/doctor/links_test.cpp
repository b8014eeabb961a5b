#include "switchyard/doctor/links.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"

namespace switchyard::doctor {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Links, EveryRankMeasuresItsOwnAndAllKnowAll) {
  comm::run_ranks(3, [](comm::Communicator& world) {
    const LinkFacts facts = measure_links(world, at::kCPU);
    EXPECT_EQ(facts.num_ranks, 3);
    std::set<std::pair<std::int64_t, std::int64_t>> pairs;
    for (const LinkFacts::Link& link : facts.links) {
      pairs.emplace(link.from, link.to);
      EXPECT_GT(link.bytes_per_second, 0.0);
      EXPECT_GT(link.seconds, 0.0);
    }
    EXPECT_EQ(pairs, (std::set<std::pair<std::int64_t, std::int64_t>>{
                         {0, 1}, {0, 2}, {1, 2}, {1, 0}, {2, 0}, {2, 1}}));
    EXPECT_GT(facts.reduce_bytes_per_second, 0.0);
  });
}

TEST(Links, OfOneRankAreNone) {
  const auto self = comm::make_self_communicator();
  const DoctorLine line = check_links(measure_links(*self, at::kCPU));
  EXPECT_EQ(line.verdict, Verdict::kNote);
  EXPECT_THAT(line.advice, HasSubstr("launch --nproc"));
}

TEST(Links, OneThatIsMuchSlowerThanTheOthersIsNamed) {
  LinkFacts facts{.num_ranks = 4, .links = {}, .reduce_bytes_per_second = 5e9};
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    facts.links.push_back({.from = rank,
                           .to = (rank + 1) % 4,
                           .bytes_per_second = rank == 2 ? 4e9 : 10e9,
                           .seconds = 20e-6});
  }
  EXPECT_EQ(check_links(facts).verdict, Verdict::kOk);
  EXPECT_THAT(check_links(facts).finding,
              AllOf(HasSubstr("4 ranks"), HasSubstr("10.00 GB/s"),
                    HasSubstr("slowest 2 to 3: 4.00 GB/s"), HasSubstr("20 us")));
  facts.links[2].bytes_per_second = 3e9;
  EXPECT_EQ(check_links(facts).verdict, Verdict::kWarning);
  EXPECT_THAT(check_links(facts).advice, HasSubstr("ranks 2 and 3"));
}

}  // namespace
}  // namespace switchyard::doctor
