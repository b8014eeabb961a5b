#include "train/run/run_saves.h"

#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/timing.h"
#include "switchyard/train/model_files.h"

namespace switchyard::train {
namespace {

// While files are written, ranks wait for each other as long as for a start.
class Patience {
 public:
  Patience(comm::Communicator& world, const config::ParallelConfig& config)
      : world_(world), config_(config) {
    world_.set_timeout(std::chrono::seconds(config_.start_timeout));
  }
  ~Patience() {
    try {
      world_.set_timeout(std::chrono::seconds(config_.timeout));
    } catch (const std::exception&) {  // of what is queued; the next collective meets it, too
    }
  }
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

 private:
  comm::Communicator& world_;
  const config::ParallelConfig& config_;
};

}  // namespace

RunSaves::RunSaves(const config::Config& config, parallel::RankGroups& groups, RunRanks& ranks,
                   const RunFolder& folder)
    : config_(config),
      groups_(groups),
      world_(groups.world()),
      ranks_(ranks),
      keeper_(folder.checkpoints(), config.train.keep_last,
              &CheckpointKeeper::seconds_of_this_process, [&folder] { folder.check_in_place(); }),
      folder_(folder) {}

checkpoint::WritePlan RunSaves::plan(model::Model& model, Trainer& trainer) const {
  const auto is_ours = [this](const ops::Parameter& parameter) {
    return groups_.writes(parameter);
  };
  const parallel::RankLayout& layout = groups_.layout();
  const bool is_shared_out = trainer.shares_out_optimizer();
  checkpoint::CheckpointTensors tensors;
  tensors.weights = named_weights(model, is_ours);
  if (ranks_.leads()) tensors.router_state = named_router_state(model);
  tensors.optimizer = named_moments(trainer.optimizer(), [&](const ops::Parameter& parameter) {
    return is_shared_out || is_ours(parameter);
  });
  return checkpoint::files_of_writer(
      std::move(tensors), static_cast<int>(layout.rank),
      {.weights = static_cast<int>(layout.expert),
       .optimizer = static_cast<int>(is_shared_out ? layout.num_ranks : layout.expert)});
}

void RunSaves::save_now(checkpoint::SaveRequest request) {
  begin(std::move(request), /*beside=*/false);
}

void RunSaves::save_at_last(std::int64_t step,
                            const std::function<checkpoint::SaveRequest()>& request) {
  using std::chrono_literals::operator""s;
  keeper_.forgive();
  for (const auto pause : {0s, 1s, 3s}) {
    if (has(step)) break;
    std::this_thread::sleep_for(pause);
    save_now(request());
  }
  keeper_.check_last_save();
}

void RunSaves::save(checkpoint::SaveRequest request) {
  begin(std::move(request), config_.train.async_save);
}

void RunSaves::begin(checkpoint::SaveRequest request, bool beside) {
  SWITCHYARD_CHECK(!under_way_, "a save while another is under way");
  const auto start = std::chrono::steady_clock::now();
  const Patience patience(world_, config_.parallel);
  under_way_ = std::make_unique<JointSave>(world_, folder_.checkpoints(), std::move(request),
                                           [this] { folder_.check_in_place(); });
  // Where one has no memory for a copy all wait for it, with the patience that a save has.
  if (beside) {
    const bool has_copy = under_way_->copy();
    if (!ranks_.any(!has_copy, "copy of a checkpoint")) {
      under_way_->write_beside();
      seconds_before_ = seconds_since(start);
      return;
    }
    if (has_copy && ranks_.leads()) {  // the other's own warning is not shown
      log::warning(
          "step {}: another rank has no memory for a copy; training waits for this "
          "checkpoint",
          under_way_->request().step);
    }
  }
  under_way_->write();
  seconds_before_ = seconds_since(start);
  finish();
}

void RunSaves::take_written() {
  if (!under_way_) return;
  if (ranks_.any(!under_way_->is_written(), "checkpoint under way")) return;
  wait();
}

void RunSaves::settle_best() {
  if (if_best_is_lost_) wait();
}

void RunSaves::wait() {
  if (!under_way_) return;
  const Patience patience(world_, config_.parallel);
  finish();
}

void RunSaves::finish() {
  const std::unique_ptr<JointSave> save = std::move(under_way_);
  std::function<void()> if_best_is_lost = std::exchange(if_best_is_lost_, nullptr);
  if (ranks_.leads()) {
    keeper_.save(
        save->request(), [&save](const auto&, const auto&) { return save->finish(); },
        seconds_before_);
  } else {
    (void)save->finish();
  }
  const std::int64_t saved = ranks_.of_leader(keeper_.saved_step(), "saved step");
  const std::int64_t last = ranks_.of_leader(keeper_.last_step(), "saved step");
  if (!ranks_.leads()) keeper_.note(saved, last);
  if (if_best_is_lost) mark_best(save->request().step, std::move(if_best_is_lost));
}

bool RunSaves::has(std::int64_t step) const {
  return keeper_.saved_step() == step || (under_way_ && under_way_->request().step == step);
}

bool RunSaves::owes_sound() const {
  return !under_way_ && keeper_.saved_step() > keeper_.last_step();
}

bool RunSaves::is_due_by_clock() {
  return ranks_.of_leader(!under_way_ && keeper_.is_due() ? 1 : 0, "save by the clock") != 0;
}

void RunSaves::mark_best(std::int64_t step, std::function<void()> if_lost) {
  if (under_way_ && under_way_->request().step == step) {
    if_best_is_lost_ = std::move(if_lost);
    return;
  }
  const bool is_marked = ranks_.leads() && keeper_.last_step() == step && keeper_.mark_best();
  if (ranks_.of_leader(is_marked ? 1 : 0, "best checkpoint") == 0) if_lost();
}

}  // namespace switchyard::train
