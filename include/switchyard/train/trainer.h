// One training step as numbered phases. What surrounds the steps (records, evaluation, samples,
// checkpoints, stopping) is the run loop, src/train/run/run_loop.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/core/timing.h"
#include "switchyard/model/model.h"
#include "switchyard/ops/device_time.h"
#include "switchyard/optim/adamw.h"
#include "switchyard/optim/grad_norm.h"
#include "switchyard/optim/schedule.h"
#include "switchyard/parallel/gradients.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/routing/losses.h"
#include "switchyard/telemetry/step_statistics.h"
#include "switchyard/train/task.h"

namespace switchyard::train {

class Prefetcher;
class StepAccumulator;

// What a trainer knows besides tensors.
struct TrainerState {
  std::int64_t step = 0;         // steps done
  std::int64_t next_window = 0;  // of the data
  std::int64_t num_updates = 0;  // steps that were not skipped
  std::int64_t num_skipped_in_a_row = 0;
};

class Trainer {
 public:
  // Uses config.run.seed, .model.num_layers, .model.moe.loss, .optim, .parallel.shard_optimizer,
  // .schedule and .train.
  // The model must be initialised and be the one that the objective is about; all must outlive
  // this. Throws UsageError when the global batch cannot be cut into micro-batches over the ranks.
  Trainer(const config::Config& config, model::Model& model, Objective& objective,
          parallel::RankGroups& groups);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Phases 1 to 6 of the next step, which takes the next G samples, with G the global batch size. A
  // step whose loss or gradient norm is not finite is skipped: it uses up its windows and its
  // number; weights, moments, update count and router state do not change. The losses returned are
  // the objective's parts over all ranks, before the update. Throws OutOfMemoryError and what the
  // objective throws; unless that was in the middle of the update, all is as it was before the
  // step.
  telemetry::StepSums train_step();

  [[nodiscard]] std::int64_t step() const { return state_.step; }  // steps done
  // False only when train_step() threw in the middle of an update: the weights are then of no step.
  [[nodiscard]] bool is_between_steps() const { return is_between_steps_; }
  [[nodiscard]] std::int64_t num_skipped_in_a_row() const { return state_.num_skipped_in_a_row; }
  [[nodiscard]] TrainerState state() const;
  // The next step is then the one that followed `state`, if weights, moments and router state are
  // those of that time as well.
  void restore(const TrainerState& state);
  [[nodiscard]] const optim::AdamW& optimizer() const { return optimizer_; }
  // Has each of several ranks only its part of the optimizer's state?
  [[nodiscard]] bool shares_out_optimizer() const { return gradients_.is_shared_out(); }
  // Time by phase since the last reset: the device's for the phases of a step, of which an update
  // of the last step may be missing; wall time for what others add.
  [[nodiscard]] SpanTimer& phases() { return phases_; }

 private:
  // Over all ranks; known before the first forward pass.
  struct Denominators {
    std::int64_t num_labels = 0;  // at least 1
    std::int64_t num_tokens = 0;
    std::vector<std::int64_t> num_tokens_of_micro_step;
  };
  [[nodiscard]] telemetry::StepSums compute_step();
  // This rank's part of the step that begins with that sample, on the model's device.
  [[nodiscard]] std::vector<model::MicroBatch> fetch(std::int64_t first_sample) const;
  [[nodiscard]] Denominators count(const std::vector<model::MicroBatch>& micro_batches);
  // What this rank updates, each with its part of the learning rate.
  [[nodiscard]] std::vector<optim::Slice> slices() const;
  // Of train.freeze_router, before the gradient's norm is taken.
  void drop_frozen_gradients() const;
  // This rank's share of the step's objective from one micro-batch.
  [[nodiscard]] at::Tensor objective_share(const model::MicroBatch& micro,
                                           std::int64_t num_tokens_global, const Denominators& step,
                                           StepAccumulator& sums);
  // Into `sums`: the whole gradient's norm, and each router's.
  void note_norms(telemetry::StepSums& sums, const optim::GradNorms& norms) const;
  // `named`: the routers' own sums, one map per layer of `sums`.
  void update(const telemetry::StepSums& sums,
              const std::vector<std::map<std::string, std::vector<double>>>& named);

  config::Config config_;
  Objective& objective_;
  at::Device device_;
  comm::Communicator& communicator_;  // all ranks
  std::vector<ops::Parameter*> parameters_;
  std::map<std::int64_t, routing::Router*> routers_;
  parallel::Gradients gradients_;
  const std::map<const ops::Parameter*, std::int64_t> layer_of_router_weight_;
  const std::set<const ops::Parameter*> frozen_;
  optim::AdamW optimizer_;
  optim::Schedule schedule_;
  SpanTimer phases_;
  ops::DeviceSpans device_phases_;
  double experts_per_token_ = 0.0;  // of the last step
  bool is_between_steps_ = true;
  TrainerState state_;                      // but for num_updates, which the optimizer counts
  std::unique_ptr<Prefetcher> prefetcher_;  // last: its thread reads the others
};

}  // namespace switchyard::train
