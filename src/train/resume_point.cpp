#include "train/resume_point.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/format/json.h"
#include "switchyard/train/build.h"

namespace switchyard::train {
namespace fs = std::filesystem;
namespace {

std::string state_source(const checkpoint::Checkpoint& saved) {
  return (saved.folder() / "training_state.json").string();
}

bool routers_differ(const config::Config& before, const config::Config& after) {
  return before.model.moe.router != after.model.moe.router ||
         before.model.moe.router_of_layer != after.model.moe.router_of_layer;
}

// The last step that the run recorded, saved or not.
std::int64_t last_recorded_step(const fs::path& metrics) {
  std::int64_t last = 0;
  if (!fs::exists(metrics)) return last;
  std::istringstream lines(read_file(metrics));
  for (std::string line; std::getline(lines, line);) {
    const format::Json record = format::Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!record.is_object()) continue;  // torn by a kill
    const auto step = record.find("step");
    if (step != record.end() && step->is_number_integer()) last = step->get<std::int64_t>();
  }
  return last;
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
  point.data_fingerprint = parse_training_state(state, state_source(saved)).data_fingerprint;
  config::Config before = config_of(saved);
  before.run.dir = config.run.dir;  // the folder may have been moved
  point.changes = config::changes(before, config);
  config::check_changes_on_resume(point.changes, allowed);
  point.same_routers = !routers_differ(before, config);
  return point;
}

void check_data(const ResumePoint& point, const data::SampleSource& training,
                const config::AllowedChanges& allowed) {
  if (!point.checkpoint.has_value()) return;
  if (point.data_fingerprint == training.fingerprint()) return;
  const bool asked =
      std::any_of(allowed.keys.begin(), allowed.keys.end(),
                  [](const std::string& key) { return key == "data" || key.starts_with("data."); });
  if (asked) {
    log::warning("the data is not what the run was trained on so far: it goes on with new windows");
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
  checkpoint::remove_unfinished(folder.checkpoints());
  for (const auto& [step_folder, reason] : point.damaged) {
    const fs::path aside = checkpoint::set_aside(step_folder);
    log::warning("{}: damaged, kept as {}: {}", step_folder.filename().string(),
                 aside.filename().string(), reason);
  }
  const std::int64_t step = point.checkpoint.has_value() ? point.checkpoint->step() : 0;
  const std::int64_t later =
      std::max<std::int64_t>(0, last_recorded_step(folder.metrics_file()) - step);
  const std::string lost =
      later == 0 ? std::string()
                 : fmt::format("; {} later step{} {} not saved and {} made again", later,
                               later == 1 ? "" : "s", later == 1 ? "was" : "were",
                               later == 1 ? "is" : "are");
  if (point.checkpoint.has_value()) {
    checkpoint::point_at(point.checkpoint->folder(), checkpoint::kLatest);
    log::info("resuming {} at step {} of {}{}; data position verified", folder.path().string(),
              step, config.train.steps, lost);
  } else {
    log::info("{} holds no checkpoint: starting at step 0{}", folder.path().string(), lost);
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

TrainingState restore_training(const checkpoint::Checkpoint& saved, bool same_routers,
                               model::Decoder& decoder, Trainer& trainer) {
  const std::string source = saved.folder().string();
  TrainingState state = parse_training_state(saved.training_state(), state_source(saved));
  load_weights(decoder, saved.weights(), source);
  if (same_routers) {
    load_router_state(decoder, saved.router_state(), source);
  } else {
    log::info("the routers were changed: their state starts afresh");
  }
  load_moments(trainer.optimizer(), saved.optimizer(), source);
  trainer.restore(state.trainer);
  return state;
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
