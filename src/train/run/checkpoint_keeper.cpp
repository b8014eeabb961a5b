#include "train/run/checkpoint_keeper.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"

namespace switchyard::train {
namespace fs = std::filesystem;

CheckpointKeeper::CheckpointKeeper(fs::path folder, std::int64_t keep_last, Clock seconds,
                                   Check check_place)
    : folder_(std::move(folder)),
      keep_last_(keep_last),
      seconds_(std::move(seconds)),
      check_place_(std::move(check_place)),
      last_attempt_seconds_(seconds_()) {}

double CheckpointKeeper::seconds_of_this_process() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A disk that was slow once says nothing about the next time: of two saves the faster counts, and
// one alone postpones the second by an hour at most.
double CheckpointKeeper::seconds_between_saves() const {
  if (!save_seconds_) return kSecondsBetweenSaves;
  const double wanted = save_seconds_before_
                            ? kTimesASave * std::min(*save_seconds_, *save_seconds_before_)
                            : std::min(kTimesASave * *save_seconds_, kMostSecondsByOneSave);
  return std::max(kSecondsBetweenSaves, wanted);
}

bool CheckpointKeeper::is_due() const {
  return seconds_() - last_attempt_seconds_ >= seconds_between_saves();
}

std::string CheckpointKeeper::describe_saved() const {
  if (saved_step_ == last_step_) return saved_.string();
  std::string sound = last_.empty() ? "no checkpoint of this run is sound"
                                    : "the newest sound one is " + last_.string();
  if (!last_.empty() && !is_confirmed_) sound += unconfirmed();
  return fmt::format("{} (its loss or its weights are not finite; {})", saved_.string(), sound);
}

// Its own update may have ruined the weights while they are finite yet.
std::string CheckpointKeeper::unconfirmed() const {
  std::string text = ", with which no loss was finite yet";
  std::vector<fs::path> steps;
  try {
    steps = checkpoint::steps_in(folder_);
  } catch (const StorageError&) {  // words about a run are no reason to end it
    return text;
  }
  const auto last = std::find(steps.begin(), steps.end(), last_);
  if (last == steps.begin() || last == steps.end()) return text;
  const auto older = config::step_in_name(std::prev(last)->filename().string());
  return older ? text + fmt::format("; --from {} goes further back", *older) : text;
}

void CheckpointKeeper::start_from(const checkpoint::Checkpoint& checkpoint) {
  last_ = saved_ = checkpoint.folder();
  last_step_ = saved_step_ = checkpoint.step();
  is_confirmed_ = false;
}

void CheckpointKeeper::check_free_space(std::uint64_t num_bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(folder_, error);
  if (error || space.available / 2 >= num_bytes) return;  // not every file system tells
  throw StorageError(
      fmt::format("{}: {} are free, but a checkpoint takes about {}, and the old one is only "
                  "removed once the new one is whole",
                  folder_.string(), format_bytes(space.available), format_bytes(num_bytes)),
      "free some space, or choose a folder on another disk with run.dir=...");
}

void CheckpointKeeper::save(const checkpoint::SaveRequest& request, const Write& write,
                            double seconds_before) {
  constexpr int kMostFailures = 3;
  const double start = seconds_();
  try {
    saved_ = write(folder_, request);
  } catch (const StorageError& error) {
    last_attempt_seconds_ = seconds_();
    failure_ = std::current_exception();
    if (++num_failures_in_a_row_ >= kMostFailures) throw;
    log::warning("step {}: checkpoint not saved ({} in a row): {}", request.step,
                 num_failures_in_a_row_, error.what());
    return;
  }
  last_attempt_seconds_ = seconds_();
  save_seconds_before_ = save_seconds_;
  save_seconds_ = seconds_before + last_attempt_seconds_ - start;
  saved_step_ = request.step;
  failure_ = nullptr;
  num_failures_in_a_row_ = 0;
  if (!request.is_sound) {
    log::warning("step {}: {}", request.step, describe_saved());
    return;
  }
  last_ = saved_;
  last_step_ = request.step;
  is_confirmed_ = false;
  confirm(confirmed_step_);  // a save beside training may come late
}

void CheckpointKeeper::note(std::int64_t saved_step, std::int64_t last_step) {
  saved_step_ = saved_step;
  last_step_ = last_step;
}

void CheckpointKeeper::confirm(std::int64_t step) {
  confirmed_step_ = std::max(confirmed_step_, step);
  if (is_confirmed_ || last_step_ > confirmed_step_) return;
  is_confirmed_ = true;
  remove_old();
}

void CheckpointKeeper::check_last_save() const {
  if (failure_) std::rethrow_exception(failure_);
}

bool CheckpointKeeper::mark_best() {
  try {
    check_place_();
    checkpoint::point_at(last_, checkpoint::kBest);
  } catch (const StorageError& error) {
    log::warning("{}", error.what());
    return false;
  }
  remove_old();
  return true;
}

fs::path CheckpointKeeper::best() const {
  try {
    const fs::path step = checkpoint::pointed_at(folder_, checkpoint::kBest);
    return config::is_checkpoint(step) ? step : fs::path();
  } catch (const DataError&) {
    return {};  // remove_old says so
  } catch (const StorageError&) {
    return {};
  }
}

// Called at steps that are trained and saved, so that nothing it meets may end the run.
void CheckpointKeeper::remove_old() const {
  fs::path best_step;
  std::vector<fs::path> steps;
  try {
    check_place_();
    best_step = checkpoint::pointed_at(folder_, checkpoint::kBest);
    steps = checkpoint::steps_in(folder_);
  } catch (const StorageError& error) {
    log::warning("{}; no old checkpoint is removed", error.what());
    return;
  } catch (const DataError& error) {
    log::warning("{}; no old checkpoint is removed, as any of them may be the best", error.what());
    return;
  }
  std::erase_if(steps, [](const fs::path& step) { return !config::is_checkpoint(step); });
  const auto num_kept = static_cast<std::size_t>(std::max<std::int64_t>(1, keep_last_));
  for (std::size_t i = 0; i + num_kept < steps.size(); ++i) {
    if (steps[i] == best_step) continue;
    try {
      checkpoint::remove_step(steps[i]);
    } catch (const StorageError& error) {
      log::warning("{}", error.what());
    }
  }
}

}  // namespace switchyard::train
