#include "train/run/resume_point.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <tuple>

#include "switchyard/comm/text.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/telemetry/read_metrics.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"
#include "switchyard/train/router_meaning.h"
#include "train/run/environment.h"

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

// Another folder of the same spelling may stand where the command was started.
std::string other_place_of_data(const config::Config& config) {
  if (config.data.path.empty()) return "data.blend=...";
  std::error_code unknown;
  for (const fs::path& place : config::remembered_places(config.data.path, config.run.dir)) {
    if (config::holds_prepared_data(place) && !fs::equivalent(place, config.data.path, unknown)) {
      return shell_quoted("data.path=" + place.string());
    }
  }
  return "data.path=...";
}

checkpoint::NewestSound find_checkpoint(const fs::path& checkpoints,
                                        std::optional<std::int64_t> from,
                                        const checkpoint::ReadContents& read) {
  if (!from.has_value()) return checkpoint::open_newest_sound(checkpoints, read);
  checkpoint::NewestSound found;
  if (const fs::path folder = checkpoint::find_step(checkpoints, *from); !folder.empty()) {
    found.checkpoint = checkpoint::Checkpoint::open_step(folder, read);
    return found;
  }
  throw UsageError("--from: " +
                   config::no_such_checkpoint(checkpoints.parent_path(), std::to_string(*from)));
}

std::vector<fs::path> later_than(const fs::path& checkpoints, std::int64_t step) {
  std::vector<fs::path> later;
  for (const auto& folders :
       {checkpoint::steps_in(checkpoints), checkpoint::unsound_steps_in(checkpoints)}) {
    for (const fs::path& folder : folders) {
      if (checkpoint::step_of(folder) > step) later.push_back(folder);
    }
  }
  return later;
}

// Pointers first, so that none names a folder that is gone.
void point_at_what_stays(const ResumePoint& point, const fs::path& checkpoints,
                         std::int64_t best_step) {
  const std::int64_t step = point.checkpoint->step();
  std::vector<fs::path> steps = checkpoint::steps_in(checkpoints);
  std::erase_if(steps, [&](const fs::path& each) { return checkpoint::step_of(each) > step; });
  const auto point_or_remove = [&](const char* pointer, const fs::path& target) {
    std::error_code nothing_there;
    if (target.empty()) {
      fs::remove(checkpoints / pointer, nothing_there);
    } else {
      checkpoint::point_at(target, pointer);
    }
  };
  point_or_remove(checkpoint::kLatest, steps.empty() ? fs::path() : steps.back());
  // A run that no longer keeps the best leaves it alone, while it is there.
  const std::int64_t wanted = best_step > 0 ? best_step : point.state.best.step;
  const auto best = std::find_if(steps.begin(), steps.end(), [&](const fs::path& each) {
    return checkpoint::step_of(each) == wanted;
  });
  std::error_code not_seen;
  const bool is_named = fs::exists(checkpoints / checkpoint::kBest, not_seen);
  if (best_step > 0 || (is_named && !point.rolled_back.empty())) {
    point_or_remove(checkpoint::kBest, best == steps.end() ? fs::path() : *best);
  }
}

// Samples of steps that are made again are no samples of this run.
void set_samples_aside(const RunFolder& folder, std::int64_t step) {
  std::error_code error;
  for (fs::directory_iterator entry(folder.samples(), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const auto of_step = config::step_in_name(name.substr(0, name.rfind('.')));
    if (!of_step || *of_step <= step || folder.sample_file(*of_step) != entry->path()) continue;
    try {
      (void)checkpoint::set_aside(entry->path(), checkpoint::kRolledBack);
    } catch (const StorageError& storage) {
      log::warning("{}", storage.what());
    }
  }
}

void tell_of_unsound_ones(const ResumePoint& point, const fs::path& checkpoints) {
  const std::int64_t step = point.checkpoint.has_value() ? point.checkpoint->step() : 0;
  for (const fs::path& folder : checkpoint::unsound_steps_in(checkpoints)) {
    if (checkpoint::step_of(folder) <= step) continue;
    log::info("{} is passed over: its loss or its weights are not finite (--from {} takes it)",
              folder.filename().string(), checkpoint::step_of(folder));
  }
}

// The sequences of all ranks together: another number of ranks may keep them as they were.
void tell_of_other_micro_steps(const ResumePoint& point, const config::Config& config,
                               std::int64_t num_ranks) {
  if (!point.checkpoint.has_value()) return;
  const std::map<std::string, std::string>& facts = point.checkpoint->environment();
  const auto ranks = facts.find("ranks");
  const std::int64_t num_ranks_before =
      ranks == facts.end() ? num_ranks : num_ranks_in(ranks->second).value_or(num_ranks);
  const std::int64_t before =
      config_of(*point.checkpoint).train.micro_batch_size * num_ranks_before;
  const std::int64_t now = config.train.micro_batch_size * num_ranks;
  if (before == now) return;
  log::info(
      "micro-steps of {} sequences instead of {}: the load-balance loss is taken over other parts "
      "of the batch, so losses differ slightly from an uninterrupted run's",
      now, before);
}

// Are losses of evaluations of the same text comparable?
bool evaluate_alike(const config::Config& before, const config::Config& config) {
  const auto what = [](const config::Config& of) {
    return std::tuple(of.train.evaluate_tokens, of.data.sequence_length, of.data.mask_rate,
                      of.data.mask_whole_words, of.data.attend_across_documents);
  };
  return what(before) == what(config);
}

}  // namespace

ResumePoint share_resume_point(ResumePoint point, comm::Communicator& world) {
  if (world.size() == 1) return point;
  constexpr const char* kName = "where to go on from";
  format::Json said;
  if (world.rank() == 0) {
    if (point.checkpoint.has_value()) said["checkpoint"] = point.checkpoint->folder().string();
    said["same_data"] = point.same_data;
    said["same_routers"] = point.same_routers;
    said["same_evaluations"] = point.same_evaluations;
  }
  const std::string text = comm::text_of_first(world, format::json_text(said), kName);
  if (world.rank() == 0) return point;
  said = format::parse_json(text, kName);
  point.same_data = said["same_data"].get<bool>();
  point.same_routers = said["same_routers"].get<bool>();
  point.same_evaluations = said["same_evaluations"].get<bool>();
  if (!said.contains("checkpoint")) return point;
  point.checkpoint =
      checkpoint::Checkpoint::open_checked_step(said["checkpoint"].get<std::string>());
  point.state = parse_training_state(point.checkpoint->training_state(), kName);
  point.model_before = config_of(*point.checkpoint).model;
  return point;
}

ResumePoint find_resume_point(const RunFolder& folder, const config::Config& config,
                              const config::AllowedChanges& allowed,
                              std::optional<std::int64_t> from,
                              const checkpoint::ReadContents& read) {
  checkpoint::NewestSound newest = find_checkpoint(folder.checkpoints(), from, read);
  ResumePoint point;
  if (from.has_value()) point.rolled_back = later_than(folder.checkpoints(), *from);
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
  if (folder.has_config_as_written()) {
    config::check_changes_on_resume(config::changes(own, config), allowed);
  } else {
    config::check_changes_on_resume(
        point.changes, allowed,
        fmt::format("{} was edited: put back what it says, or ", folder.config_file().string()));
  }
  point.same_routers = !routers_differ(before, config);
  point.model_before = before.model;
  point.same_evaluations = evaluate_alike(before, config);
  return point;
}

void check_data(ResumePoint& point, const std::string& fingerprint, const config::Config& config,
                const config::AllowedChanges& allowed) {
  if (!point.checkpoint.has_value()) return;
  if (point.state.data_fingerprint == fingerprint) return;
  if (asks_for_other_data(allowed)) {
    log::warning("the data is not what the run was trained on so far: it goes on with new windows");
    point.same_data = point.same_evaluations = false;
    return;
  }
  throw DataError(fmt::format("the data{} is not what the run was trained on so far",
                              config.data.path.empty() ? "" : " in " + config.data.path),
                  fmt::format("give the run its data with {}, or go on with other data with "
                              "--allow-change {}",
                              other_place_of_data(config),
                              config.data.path.empty() ? "data.blend" : "data.path"));
}

void tidy_and_tell(const ResumePoint& point, const config::Config& config, const RunFolder& folder,
                   std::int64_t num_ranks) {
  if (!folder.left_by().empty()) {
    log::info("process {} ended without letting go of {}; taking over", folder.left_by(),
              folder.path().string());
  }
  checkpoint::remove_unfinished(folder.checkpoints());
  const std::int64_t step = point.checkpoint.has_value() ? point.checkpoint->step() : 0;
  const std::int64_t later =
      std::max<std::int64_t>(0, last_step_made(folder.metrics_file(), point) - step);
  const bool some_saved = !point.rolled_back.empty() || !point.damaged.empty();
  const std::string lost = later == 0
                               ? std::string()
                               : fmt::format("; {}{} {} made again", counted(later, "later step"),
                                             some_saved   ? ""
                                             : later == 1 ? " was not saved and"
                                                          : " were not saved and",
                                             later == 1 ? "is" : "are");
  if (point.checkpoint.has_value()) {
    log::info("resuming {} at step {} of {}{}{}", folder.path().string(), step, config.train.steps,
              lost, point.same_data ? "; data position verified" : "");
  } else {
    log::warning("{} holds no checkpoint: starting at step 0{}", folder.path().string(), lost);
  }
  for (const config::Change& change : point.changes) {
    log::info("changed: {}: {} -> {}", change.key, change.before, change.after);
  }
  tell_of_other_micro_steps(point, config, num_ranks);
}

void set_later_ones_aside(const ResumePoint& point, const RunFolder& folder,
                          std::int64_t best_step) {
  const fs::path checkpoints = folder.checkpoints();
  if (point.checkpoint.has_value()) point_at_what_stays(point, checkpoints, best_step);
  if (!point.rolled_back.empty()) set_samples_aside(folder, point.checkpoint->step());
  for (const auto& [step_folder, reason] : point.damaged) {
    const fs::path aside = checkpoint::set_aside(step_folder, checkpoint::kDamaged);
    log::warning("{}: damaged, kept as {}: {}", step_folder.filename().string(),
                 aside.filename().string(), reason);
  }
  for (const fs::path& step_folder : point.rolled_back) {
    const fs::path aside = checkpoint::set_aside(step_folder, checkpoint::kRolledBack);
    log::info("{}: later than the step asked for, kept as {}", step_folder.filename().string(),
              aside.filename().string());
  }
  tell_of_unsound_ones(point, checkpoints);
}

void restore_training(const ResumePoint& point, const config::ModelConfig& config,
                      model::Model& model, Trainer& trainer) {
  const checkpoint::Checkpoint& saved = point.checkpoint.value();
  load_weights(model, saved.weights());
  if (point.same_routers) {
    load_router_state(model, saved.router_state());
  } else {
    const std::int64_t num_kept = take_over_router_state(
        model, saved.router_state(), routers_that_mean_the_same(point.model_before, config),
        saved.step());
    log::info("the routers were changed: {}",
              num_kept == 0 ? "their state starts afresh"
                            : "state that means what it meant is kept, the rest starts afresh");
  }
  load_moments(trainer.optimizer(), model, saved.optimizer());
  trainer.restore(point.state.trainer);
}

std::vector<std::string> differences_of_environment(const std::map<std::string, std::string>& then,
                                                    const std::map<std::string, std::string>& now) {
  std::vector<std::string> lines;
  for (const char* fact :
       {"switchyard", "libtorch", "compiler", "device", "gpu", "cpu", "threads", "ranks"}) {
    const auto before = then.find(fact);
    const auto after = now.find(fact);
    if (before == then.end() || after == now.end() || before->second == after->second) continue;
    lines.push_back(fmt::format("{}: {} then, {} now", fact, before->second, after->second));
  }
  return lines;
}

}  // namespace switchyard::train
