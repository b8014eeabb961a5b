#include "train/resume_point.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/telemetry/read_metrics.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"

namespace switchyard::train {
namespace fs = std::filesystem;
namespace {

bool routers_differ(const config::Config& before, const config::Config& after) {
  return before.model.moe.router != after.model.moe.router ||
         before.model.moe.router_of_layer != after.model.moe.router_of_layer;
}

// The last step that is known to have been made, saved or not.
std::int64_t last_step_made(const fs::path& metrics, const ResumePoint& point) {
  std::int64_t last = 0;
  if (fs::exists(metrics)) {
    const telemetry::Metrics records = telemetry::read_metrics(metrics);
    if (!records.steps.empty()) last = records.steps.back().step;
  }
  for (const auto& [folder, reason] : point.damaged) {
    last = std::max(last, checkpoint::step_of(folder));
  }
  return last;
}

// Did the user ask for other windows of data?
bool asks_for_other_data(const config::AllowedChanges& allowed) {
  constexpr std::array kKeys = {"run",       "run.seed",   "data",
                                "data.path", "data.blend", "data.sequence_length"};
  return std::any_of(allowed.keys.begin(), allowed.keys.end(), [&](const std::string& key) {
    return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
  });
}

}  // namespace

ResumePoint find_resume_point(const RunFolder& folder, const config::Config& config,
                              const config::AllowedChanges& allowed) {
  checkpoint::NewestSound newest = checkpoint::open_newest_sound(folder.checkpoints());
  ResumePoint point;
  point.damaged = std::move(newest.damaged);
  point.checkpoint = std::move(newest.checkpoint);
  if (!point.checkpoint.has_value()) return point;
  const checkpoint::Checkpoint& saved = *point.checkpoint;
  const std::string state = saved.training_state();
  if (state.empty()) {
    throw DataError(fmt::format("{} holds weights only", saved.folder().string()),
                    "the moments of the optimizer are needed to go on training");
  }
  const std::string source = (saved.folder() / "training_state.json").string();
  point.state = parse_training_state(state, source);
  if (point.state.trainer.step != saved.step()) {
    throw DataError(fmt::format("{}: step {}, but the manifest says {}", source,
                                point.state.trainer.step, saved.step()));
  }
  config::Config before = config_of(saved);
  config::Config own = config::load(folder.config_file(), {}).config;
  before.run.dir = own.run.dir = config.run.dir;  // the folder may have been moved
  point.changes = config::changes(before, config);
  config::check_changes_on_resume(config::changes(own, config), allowed);
  point.same_routers = !routers_differ(before, config);
  point.same_evaluations = before.train.evaluate_tokens == config.train.evaluate_tokens;
  return point;
}

void check_data(ResumePoint& point, const data::SampleSource& training,
                const config::AllowedChanges& allowed) {
  if (!point.checkpoint.has_value()) return;
  if (point.state.data_fingerprint == training.fingerprint()) return;
  if (asks_for_other_data(allowed)) {
    log::warning("the data is not what the run was trained on so far: it goes on with new windows");
    point.same_data = point.same_evaluations = false;
    return;
  }
  throw DataError("the data is not what the run was trained on so far",
                  "give the run its data with data.path=..., or go on with other data with "
                  "--allow-change data.path");
}

void tidy_and_tell(const ResumePoint& point, const config::Config& config,
                   const RunFolder& folder) {
  if (!folder.left_by().empty()) {
    log::info("process {} ended without letting go of {}; taking over", folder.left_by(),
              folder.path().string());
  }
  // First, so that LATEST never names a folder that is gone.
  if (point.checkpoint.has_value()) {
    checkpoint::point_at(point.checkpoint->folder(), checkpoint::kLatest);
  }
  checkpoint::remove_unfinished(folder.checkpoints());
  for (const auto& [step_folder, reason] : point.damaged) {
    const fs::path aside = checkpoint::set_aside(step_folder);
    log::warning("{}: damaged, kept as {}: {}", step_folder.filename().string(),
                 aside.filename().string(), reason);
  }
  const std::int64_t step = point.checkpoint.has_value() ? point.checkpoint->step() : 0;
  const std::int64_t later =
      std::max<std::int64_t>(0, last_step_made(folder.metrics_file(), point) - step);
  const std::string lost =
      later == 0 ? std::string()
                 : fmt::format("; {} later step{} {} not saved and {} made again", later,
                               later == 1 ? "" : "s", later == 1 ? "was" : "were",
                               later == 1 ? "is" : "are");
  if (point.checkpoint.has_value()) {
    log::info("resuming {} at step {} of {}{}{}", folder.path().string(), step, config.train.steps,
              lost, point.same_data ? "; data position verified" : "");
  } else {
    log::warning("{} holds no checkpoint: starting at step 0{}", folder.path().string(), lost);
  }
  for (const config::Change& change : point.changes) {
    log::info("changed: {}: {} -> {}", change.key, change.before, change.after);
    if (change.key == "train.micro_batch_size") {
      log::info(
          "another micro-batch size: the load-balance loss is taken over other parts of "
          "the batch, so losses differ slightly from an uninterrupted run's");
    }
  }
}

void restore_training(const ResumePoint& point, model::Model& model, Trainer& trainer) {
  const checkpoint::Checkpoint& saved = point.checkpoint.value();
  load_weights(model, saved.weights());
  if (point.same_routers) {
    load_router_state(model, saved.router_state());
  } else {
    log::info("the routers were changed: their state starts afresh");
  }
  load_moments(trainer.optimizer(), saved.optimizer());
  trainer.restore(point.state.trainer);
}

std::vector<std::string> differences_of_environment(const std::map<std::string, std::string>& then,
                                                    const std::map<std::string, std::string>& now) {
  std::vector<std::string> lines;
  for (const char* fact : {"switchyard", "libtorch", "compiler", "device", "cpu", "threads"}) {
    const auto before = then.find(fact);
    const auto after = now.find(fact);
    if (before == then.end() || after == now.end() || before->second == after->second) continue;
    lines.push_back(fmt::format("{}: {} then, {} now", fact, before->second, after->second));
  }
  return lines;
}

}  // namespace switchyard::train
