#include "switchyard/parallel/rank_groups.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/comm/threads.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/moe_layer.h"

namespace switchyard::parallel {
namespace {

// The ranks of a group as bits.
std::int64_t members_of(comm::Communicator& group, std::int64_t rank) {
  at::Tensor bits = at::full({}, std::int64_t{1} << rank, at::kLong);
  group.all_reduce_sum(bits, "members");
  return bits.item<std::int64_t>();
}

ops::Parameter parameter_of(ops::ReplicaGroup replicas) {
  return ops::make_parameter({.name = "w", .shape = {2}, .replicas = replicas}, {});
}

const ops::Parameter kDense = parameter_of(ops::ReplicaGroup::all_ranks);
const ops::Parameter kExperts = parameter_of(ops::ReplicaGroup::expert_replicas);

TEST(RankLayout, SpreadsTheExpertsOverEveryExpertGroup) {
  for (const auto& [num_ranks, expert] :
       {std::pair{1, 1}, std::pair{2, 1}, std::pair{2, 2}, std::pair{6, 2}, std::pair{12, 3}}) {
    constexpr std::int64_t kExpertCount = 12;
    std::vector<int> holders(kExpertCount);
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      const RankLayout layout = make_rank_layout(rank, num_ranks, expert);
      EXPECT_EQ(layout.expert_idx() + expert * layout.replica_idx(), rank);
      const moe::ExpertRange range = layout.experts(kExpertCount);
      EXPECT_EQ(range.first, rank % expert * range.count);
      for (std::int64_t i = 0; i < range.count; ++i) {
        ++holders.at(static_cast<std::size_t>(range.first + i));
      }
    }
    EXPECT_EQ(holders, std::vector<int>(kExpertCount, num_ranks / expert));
  }
}

TEST(RankLayout, RefusesGroupsThatDoNotComeOutEvenAndListsThoseThatDo) {
  const auto hint_of = [](const auto& fn) -> std::string {
    try {
      fn();
    } catch (const UsageError& error) {
      return error.hint();
    }
    return "nothing was thrown";
  };
  const char* divisors = "valid values of parallel.expert: 1, 2, 3, 6";
  EXPECT_EQ(hint_of([] { (void)make_rank_layout(0, 6, 4); }), divisors);
  EXPECT_EQ(hint_of([] { (void)make_rank_layout(0, 6, 12); }), divisors);
  EXPECT_EQ(hint_of([] { (void)make_rank_layout(0, 6, 0); }), divisors);
  EXPECT_EQ(hint_of([] { (void)make_rank_layout(1, 6, 6).experts(8); }),
            "valid values of parallel.expert: 1, 2");
}

TEST(RankGroups, AreThoseOfTheLayout) {
  comm::run_ranks(6, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    const std::int64_t rank = world.rank();
    EXPECT_EQ(groups.layout().rank, rank);
    EXPECT_EQ(groups.layout().num_ranks, 6);
    EXPECT_EQ(members_of(groups.world(), rank), 0b111111);
    EXPECT_EQ(members_of(groups.expert_group(), rank), 0b11 << (rank / 2 * 2));
    EXPECT_EQ(members_of(groups.replicas(kDense), rank), 0b111111);
    EXPECT_EQ(members_of(groups.replicas(kExperts), rank), 0b010101 << (rank % 2));
    EXPECT_EQ(groups.expert_group().rank(), groups.layout().expert_idx());
    EXPECT_EQ(groups.replicas(kExperts).rank(), groups.layout().replica_idx());
  });
}

TEST(RankGroups, OneRankWritesEachPartOfTheModel) {
  comm::run_ranks(6, [](comm::Communicator& world) {
    RankGroups groups(world, 2);
    EXPECT_EQ(groups.writes(kDense), world.rank() == 0);
    EXPECT_EQ(groups.writes(kExperts), world.rank() < 2);
  });
}

TEST(RankGroups, RefuseAnExpertGroupThatDoesNotDivideTheRanks) {
  EXPECT_THROW(comm::run_ranks(4, [](comm::Communicator& world) { RankGroups(world, 3); }),
               UsageError);
}

}  // namespace
}  // namespace switchyard::parallel
