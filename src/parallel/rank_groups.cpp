#include "switchyard/parallel/rank_groups.h"

namespace switchyard::parallel {

RankGroups::RankGroups(comm::Communicator& world, std::int64_t expert)
    : layout_(make_rank_layout(world.rank(), world.size(), expert)),
      world_(world),
      expert_group_(world.split(layout_.replica_idx(), "expert groups")),
      expert_replicas_(world.split(layout_.expert_idx(), "replica groups")) {}

comm::Communicator& RankGroups::replicas(const ops::Parameter& parameter) {
  return parameter.replicas == ops::ReplicaGroup::all_ranks ? world_ : *expert_replicas_;
}

}  // namespace switchyard::parallel
