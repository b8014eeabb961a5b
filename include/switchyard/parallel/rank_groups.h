// The communicators of a rank: the grid of ranks as one object that names all groups.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/ops/parameter.h"
#include "switchyard/parallel/rank_layout.h"

namespace switchyard::parallel {

class RankGroups {
 public:
  // A collective of all ranks of `world`, which must outlive this; `expert` is parallel.expert.
  // Throws UsageError as make_rank_layout does.
  RankGroups(comm::Communicator& world, std::int64_t expert);
  RankGroups(const RankGroups&) = delete;
  RankGroups& operator=(const RankGroups&) = delete;

  [[nodiscard]] const RankLayout& layout() const { return layout_; }
  [[nodiscard]] comm::Communicator& world() { return world_; }
  // The ranks that hold all experts between them, each other ones.
  [[nodiscard]] comm::Communicator& expert_group() { return *expert_group_; }
  // The ranks that hold what this one holds of the parameter.
  [[nodiscard]] comm::Communicator& replicas(const ops::Parameter& parameter);
  // Is it this rank, alone of the parameter's replicas, that writes it to files?
  [[nodiscard]] bool writes(const ops::Parameter& parameter) {
    return replicas(parameter).rank() == 0;
  }

 private:
  RankLayout layout_;
  comm::Communicator& world_;
  std::vector<std::unique_ptr<comm::Communicator>> own_;  // groups that are neither all nor one
  comm::Communicator* expert_group_;
  comm::Communicator* expert_replicas_;
};

}  // namespace switchyard::parallel
