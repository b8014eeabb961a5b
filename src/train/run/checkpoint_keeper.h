// Writes a run's checkpoints and keeps the newest few and the best.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "switchyard/checkpoint/checkpoint.h"

namespace switchyard::train {

// How often a run saves that does not say (train.checkpoint_every=0): every ten minutes, or, where
// a save takes long, so that saving takes a fiftieth of the time.
inline constexpr double kSecondsBetweenSaves = 600.0;
inline constexpr double kTimesASave = 50.0;
inline constexpr double kMostSecondsByOneSave = 3600.0;

class CheckpointKeeper {
 public:
  // `seconds`: a clock that only goes forward. `check_place` throws StorageError where nothing may
  // be removed in the folder, as it is another one by now.
  using Clock = std::function<double()>;
  using Check = std::function<void()>;
  CheckpointKeeper(
      std::filesystem::path folder, std::int64_t keep_last,
      Clock seconds = &seconds_of_this_process, Check check_place = [] {});

  // The run goes on from this checkpoint.
  void start_from(const checkpoint::Checkpoint& checkpoint);

  // Throws StorageError when the disk has less than twice the room that a checkpoint of that size
  // needs.
  void check_free_space(std::uint64_t num_bytes) const;

  // A full disk need not end a run: a failure is logged, and thrown only when it is the third in a
  // row. An unsound checkpoint is saved beside the others: it neither counts among those that are
  // kept nor becomes last(). Removes nothing: weights can be finite and yet ruined by the very
  // update that is saved, and only their next loss shows it.
  using Write = std::function<std::filesystem::path(const std::filesystem::path& checkpoints,
                                                    const checkpoint::SaveRequest& request)>;
  // `seconds_before`: that this save has taken until now.
  void save(const checkpoint::SaveRequest& request, const Write& write = &checkpoint::save,
            double seconds_before = 0.0);
  // On ranks that do not save themselves: what the leader has saved, as saved_step(), last_step().
  void note(std::int64_t saved_step, std::int64_t last_step);
  // The weights after `step` were used, and what they computed was finite: once they or older ones
  // are the last that is saved, all but the newest keep_last and the best are removed. Costs
  // nothing when there was no save since the last call.
  void confirm(std::int64_t step);
  // Failures until now count no more.
  void forgive() { num_failures_in_a_row_ = 0; }
  // Throws the error of the last save, if it failed.
  void check_last_save() const;
  // The step that was saved last is the best so far: it is kept until there is a better one. False
  // where that could not be written down, which is a warning.
  bool mark_best();

  [[nodiscard]] const std::filesystem::path& last() const { return last_; }
  // Steps, -1 before the first: of last(), and of the newest one saved, sound or not.
  [[nodiscard]] std::int64_t last_step() const { return last_step_; }
  [[nodiscard]] std::int64_t saved_step() const { return saved_step_; }
  // Where the newest one saved is, and for an unsound one that it is, and which one is sound.
  [[nodiscard]] std::string describe_saved() const;
  // Is it time for a checkpoint, when the clock decides?
  [[nodiscard]] bool is_due() const;
  [[nodiscard]] std::filesystem::path best() const;  // empty when none is marked

  static double seconds_of_this_process();

 private:
  [[nodiscard]] double seconds_between_saves() const;
  [[nodiscard]] std::string unconfirmed() const;
  void remove_old() const;

  std::filesystem::path folder_;
  std::int64_t keep_last_;
  Clock seconds_;
  Check check_place_;
  double last_attempt_seconds_;  // on the clock: the end of the last save
  // That training waited for the last save and for the one before.
  std::optional<double> save_seconds_;
  std::optional<double> save_seconds_before_;
  std::filesystem::path last_;
  std::int64_t last_step_ = -1;
  std::filesystem::path saved_;
  std::int64_t saved_step_ = -1;
  std::exception_ptr failure_;
  int num_failures_in_a_row_ = 0;
  std::int64_t confirmed_step_ = -1;
  bool is_confirmed_ = true;  // last_
};

}  // namespace switchyard::train
