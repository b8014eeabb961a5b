#include "switchyard/parallel/rank_groups.h"

#include "switchyard/comm/self.h"

namespace switchyard::parallel {

// A group of all ranks, or of one, needs no connections of its own.
RankGroups::RankGroups(comm::Communicator& world, std::int64_t expert)
    : layout_(make_rank_layout(world.rank(), world.size(), expert)), world_(world) {
  const auto group_of = [&](std::int64_t size, std::int64_t group, const char* name) {
    if (size == world.size()) return &world;
    own_.push_back(size == 1 ? comm::make_self_communicator() : world.split(group, name));
    return own_.back().get();
  };
  expert_group_ = group_of(expert, layout_.replica_idx(), "expert groups");
  expert_replicas_ = group_of(world.size() / expert, layout_.expert_idx(), "replica groups");
}

comm::Communicator& RankGroups::replicas(const ops::Parameter& parameter) {
  return parameter.replicas == ops::ReplicaGroup::all_ranks ? world_ : *expert_replicas_;
}

}  // namespace switchyard::parallel
