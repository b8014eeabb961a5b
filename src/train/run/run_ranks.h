// What the ranks of a run tell each other beside training, so that none decides alone what others
// wait for. All but leads() and count() are collectives, which cost nothing where there is one
// rank.
#pragma once

#include <cstdint>
#include <string_view>

#include "switchyard/comm/communicator.h"
#include "switchyard/inference/rank_share.h"
#include "switchyard/telemetry/record.h"

namespace switchyard::train {

class RunRanks {
 public:
  explicit RunRanks(comm::Communicator& world) : world_(world) {}

  // Does this rank write the folder and talk? The others do the same steps in silence.
  [[nodiscard]] bool leads() const { return world_.rank() == 0; }
  [[nodiscard]] std::int64_t count() const { return world_.size(); }
  // Is it so on any rank?
  [[nodiscard]] bool any(bool here, std::string_view name);
  [[nodiscard]] std::int64_t sum(std::int64_t here, std::string_view name);
  [[nodiscard]] std::int64_t of_leader(std::int64_t number, std::string_view name);
  // For evaluations and samples.
  [[nodiscard]] inference::RankShare share();

  // What each rank has waited and exchanged since the last call, into the leader's record of these
  // steps. Nothing where nobody notes it (comm/watched.h).
  void add_traffic(telemetry::StepRecord& record);

 private:
  comm::Communicator& world_;
  std::int64_t told_step_ = -1;  // of the last record; -1 = none yet
};

}  // namespace switchyard::train
