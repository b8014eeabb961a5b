// A checkpoint is a folder of plain files that together suffice to evaluate, generate, fine-tune or
// go on training: weights, router state and the optimizer's moments as safetensors by global name,
// the training state, the tokenizer, the resolved config, and manifest.json, written last, with
// every file's size and checksum but for calibration.json, which comes later (calibration.h).
// Nothing in it can run code.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "switchyard/checkpoint/tensor_files.h"
#include "switchyard/checkpoint/write_plan.h"
#include "switchyard/config/checkpoint_names.h"

namespace switchyard::checkpoint {

struct Manifest;

struct SaveRequest {
  std::int64_t step = 0;
  WritePlan plan = {};              // what this process writes
  std::string training_state = {};  // JSON of the trainer's; empty = weights only
  std::string tokenizer_file = {};  // its name in the folder
  std::string tokenizer_bytes = {};
  std::string resolved_config = {};  // YAML
  std::map<std::string, std::string> environment = {};
  // False: the weights or the loss of the step were not finite. The folder is then called
  // step-000500.unsound, which nothing takes for a step of the run unless it is named.
  bool is_sound = true;
};

// Writes `checkpoints`/step-000500 under a temporary name, reads every file of it back against the
// checksums that were taken while writing, gives it its name and then points `checkpoints`/LATEST
// at it. Returns the folder. When that step is there already with the same tensors, LATEST is all
// that was missing; when it is there but damaged, it is set aside first; when it is there with
// other tensors, that is a StorageError: a sound checkpoint is never overwritten. An unsound step
// gets no LATEST and takes the place of the run's unsound one before. Throws StorageError; older
// checkpoints and LATEST are untouched then. What a killed save left behind is removed first.
std::filesystem::path save(const std::filesystem::path& checkpoints, const SaveRequest& request);

// The same in parts, for several processes: one starts and finishes the save, and between the two
// all of them write_files_of their plans into folder().
class StartedSave {
 public:
  // Throws StorageError.
  StartedSave(const std::filesystem::path& checkpoints, std::int64_t step, bool is_sound);
  ~StartedSave();  // unless it was finished, what was written is removed
  StartedSave(const StartedSave&) = delete;
  StartedSave& operator=(const StartedSave&) = delete;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  // `written`: what write_files_of said, of all writers; `request.plan` is not looked at. Throws as
  // save() does.
  std::filesystem::path finish(const SaveRequest& request,
                               std::map<std::string, FileDigest> written);

 private:
  std::filesystem::path checkpoints_;
  std::filesystem::path final_name_;
  std::filesystem::path folder_;  // of a temporary name
};

// Removes what a killed save or removal left behind, and logs it. One process at a time writes in a
// run, so all of it is old.
void remove_unfinished(const std::filesystem::path& checkpoints);
// The folders of steps, oldest first, whether or not they are sound; none when `checkpoints` does
// not exist. Throws StorageError when it cannot be read.
[[nodiscard]] std::vector<std::filesystem::path> steps_in(const std::filesystem::path& checkpoints);
// 500 of .../step-000500 and .../step-000500.unsound.
[[nodiscard]] std::int64_t step_of(const std::filesystem::path& folder);
// Removes the folder of one step so that, killed at any moment, no half of it is taken for a
// checkpoint. Throws StorageError.
void remove_step(const std::filesystem::path& folder);
// Gives the folder of a step that stands in the way another name (step-000500.damaged), so that the
// step can be saved again; nothing is deleted. Returns the new name. Throws StorageError.
std::filesystem::path set_aside(const std::filesystem::path& folder, const std::string& reason);
// The folders of steps that were saved although they were not sound, oldest first. Throws
// StorageError.
[[nodiscard]] std::vector<std::filesystem::path> unsound_steps_in(
    const std::filesystem::path& checkpoints);
[[nodiscard]] bool is_marked_unsound(const std::filesystem::path& folder);
// The folder of that step, sound or not; empty when there is none.
[[nodiscard]] std::filesystem::path find_step(const std::filesystem::path& checkpoints,
                                              std::int64_t step);
// Points LATEST, which is for other programs (ours take the newest), or another name at a step that
// is there.
void point_at(const std::filesystem::path& folder, const char* pointer);
// The step that a pointer names, which may be gone; empty when there is no such pointer. Throws
// DataError when it holds no step's name.
[[nodiscard]] std::filesystem::path pointed_at(const std::filesystem::path& checkpoints,
                                               const char* pointer);

inline constexpr const char* kLatest = config::kLatestPointer;
inline constexpr const char* kBest = config::kBestPointer;
inline constexpr const char* kDamaged = "damaged";  // suffixes of set_aside
inline constexpr const char* kRolledBack = "rolled-back";

// Reads the files of a step, whose sizes are right, to compare them with their checksums. Returns
// the name of one that is not what was written; empty when all are.
using ReadContents = std::function<std::string(const std::filesystem::path& folder)>;

class Checkpoint {
 public:
  // `path`: a run folder, its checkpoints folder (both: the newest whole one that is sound), one
  // step's folder, or a name as in config/checkpoint_names.h (RUN@best).
  // Every file is verified, by `read` or by this process. Throws DataError naming the file that is
  // missing or damaged.
  [[nodiscard]] static Checkpoint open(const std::filesystem::path& path,
                                       const ReadContents& read = {});
  // One step's folder, whatever it is called.
  [[nodiscard]] static Checkpoint open_step(const std::filesystem::path& folder,
                                            const ReadContents& read = {});
  // The same where another process has just done so: only sizes are compared.
  [[nodiscard]] static Checkpoint open_checked_step(const std::filesystem::path& folder);

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] std::int64_t step() const { return step_; }
  [[nodiscard]] std::filesystem::path tokenizer() const { return folder_ / tokenizer_file_; }
  [[nodiscard]] std::filesystem::path config() const;
  // Of one file or of several shards (model.safetensors, or model-00001-of-00003.safetensors and so
  // on); no tensors where there is no file of that kind. Throw as TensorFiles does.
  [[nodiscard]] TensorFiles weights() const;
  [[nodiscard]] TensorFiles router_state() const;
  [[nodiscard]] TensorFiles optimizer() const;
  // JSON; empty when the checkpoint holds weights only.
  [[nodiscard]] std::string training_state() const;
  // What it was written with, by name.
  [[nodiscard]] const std::map<std::string, std::string>& environment() const {
    return environment_;
  }

 private:
  [[nodiscard]] static Checkpoint of_manifest(const std::filesystem::path& folder,
                                              Manifest manifest);
  [[nodiscard]] TensorFiles tensors_of(const char* kind) const;

  std::filesystem::path folder_;
  std::int64_t step_ = 0;
  std::string tokenizer_file_;
  std::set<std::string> files_;
  std::map<std::string, std::string> environment_;
};

// The newest checkpoint of a run that is whole, and why each newer one is not.
struct NewestSound {
  struct Damaged {
    std::filesystem::path folder;
    std::string reason;
  };
  std::optional<Checkpoint> checkpoint;  // none: no step was ever saved
  std::vector<Damaged> damaged = {};     // newest first
};

// Damaged means that a file is missing or not what was written. Throws DataError listing every
// reason when steps are there but none is sound, or for a checkpoint of another version;
// StorageError when a file cannot be read.
[[nodiscard]] NewestSound open_newest_sound(const std::filesystem::path& checkpoints,
                                            const ReadContents& read = {});

}  // namespace switchyard::checkpoint
