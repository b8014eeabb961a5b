#include "switchyard/checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "checkpoint/manifest.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/log.h"
#include "switchyard/format/json.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr int kOnlyWriter = 0;

fs::path temporary_name(const fs::path& step) {
  return step.parent_path() /
         fmt::format(".{}.{}{}", step.filename().string(), ::getpid(), kTemporarySuffix);
}

// Not the name under which this process may be saving the same step.
fs::path name_of_removed(const fs::path& step) {
  return temporary_name(step).replace_extension(fmt::format(".removed{}", kTemporarySuffix));
}

void rename_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) {
    throw StorageError(
        fmt::format("cannot rename {} to {}: {}", from.string(), to.string(), error.message()));
  }
}

// Those of whose names `is_one` says so, oldest first.
template <typename Predicate>
std::vector<fs::path> folders_in(const fs::path& checkpoints, const Predicate& is_one) {
  std::vector<fs::path> steps;
  std::error_code error;
  fs::directory_iterator entry(checkpoints, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (is_one(entry->path().filename().string())) steps.push_back(entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw StorageError(fmt::format("cannot read {}: {}", checkpoints.string(), error.message()));
  }
  // Six digits and more sort by length, then by text.
  std::sort(steps.begin(), steps.end(), [](const fs::path& a, const fs::path& b) {
    const std::string left = a.filename().string();
    const std::string right = b.filename().string();
    return left.size() != right.size() ? left.size() < right.size() : left < right;
  });
  return steps;
}

// Do the tensor files of `folder` hold what was `written`?
bool holds_the_same_tensors(const fs::path& folder,
                            const std::map<std::string, FileDigest>& written) {
  const format::Json files =
      format::parse_json(read_file(folder / kManifest), kManifest).at("files");
  for (const auto& [file, digest] : written) {
    if (!file.ends_with(".safetensors")) continue;
    if (!files.contains(file) || files.at(file).at("xxh3") != digest.xxh3) return false;
  }
  return true;
}

// The finished checkpoint of the highest step, or an empty path.
fs::path newest_step(const fs::path& checkpoints) {
  const std::vector<fs::path> steps = steps_in(checkpoints);
  const auto newest = std::find_if(steps.rbegin(), steps.rend(), &config::is_checkpoint);
  return newest == steps.rend() ? fs::path() : *newest;
}

// The folder of one step that `path` stands for.
fs::path step_folder(const fs::path& path) {
  if (config::is_checkpoint(path)) return path;
  const config::NamedRun named = config::parse_named_run(path.string());
  if (!named.checkpoint.empty() && named.checkpoint != "latest") {
    const fs::path step = config::named_checkpoint(named.run, named.checkpoint);
    if (!step.empty()) return step;
    throw DataError(config::no_such_checkpoint(named.run, named.checkpoint));
  }
  for (const fs::path& checkpoints : {named.run / config::kCheckpointsFolderName, named.run}) {
    if (const fs::path newest = newest_step(checkpoints); !newest.empty()) return newest;
  }
  if (config::holds_run_with_checkpoint(named.run)) {
    throw DataError(config::no_such_checkpoint(named.run, "latest"),
                    "name one of them, as RUN@STEP, to take it all the same");
  }
  throw DataError(fmt::format("{} holds no checkpoint", path.string()),
                  "expected a run folder, its checkpoints folder, or a folder such as "
                  "RUN/checkpoints/step-000500");
}

// Is the step there with these tensors? Makes room for it where a damaged one is.
bool is_there_already(const fs::path& step, const std::map<std::string, FileDigest>& written) {
  std::error_code unknown;
  if (!fs::exists(step, unknown)) return false;
  try {
    (void)verify(step);
  } catch (const Damaged& error) {
    const fs::path aside = set_aside(step, kDamaged);
    log::warning("{}; kept as {}", error.what(), aside.filename().string());
    return false;
  }
  if (holds_the_same_tensors(step, written)) return true;
  throw StorageError(fmt::format("{} is there already, with other weights", step.string()),
                     "a checkpoint is never overwritten; move it away");
}

}  // namespace

StartedSave::StartedSave(const fs::path& checkpoints, std::int64_t step, bool is_sound)
    : checkpoints_(checkpoints), final_name_(checkpoints / config::step_name(step)) {
  if (!is_sound) final_name_ += config::kUnsoundSuffix;
  remove_unfinished(checkpoints);
  folder_ = temporary_name(final_name_);
  std::error_code error;
  if (!fs::create_directories(folder_, error)) {
    throw StorageError(fmt::format("cannot create {}: {}", folder_.string(), error.message()),
                       "check that the folder is writable and has free space");
  }
}

StartedSave::~StartedSave() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

fs::path StartedSave::finish(const SaveRequest& request,
                             std::map<std::string, FileDigest> written) {
  const auto write = [&](const std::string& file, const std::string& text) {
    write_file_atomically(folder_ / file, text);
    written[file] = digest_of(text);
    check_reads_back(folder_ / file, written[file]);
  };
  if (!request.training_state.empty()) write(kTrainingState, request.training_state);
  write(kConfig, request.resolved_config);
  write(request.tokenizer_file, request.tokenizer_bytes);

  nlohmann::json manifest;
  manifest["version"] = kVersion;
  manifest["step"] = request.step;
  manifest["tokenizer"] = request.tokenizer_file;
  manifest["environment"] = request.environment;
  for (const auto& [file, digest] : written) {
    manifest["files"][file] = {{"bytes", digest.bytes}, {"xxh3", digest.xxh3}};
  }
  write_file_atomically(folder_ / kManifest, manifest_text(manifest));
  try {
    (void)verify(folder_, Check::sizes);  // every writer has read its files back
  } catch (const Damaged& damaged) {
    throw does_not_read_back(damaged);
  }

  if (!request.is_sound) {
    for (const fs::path& before : unsound_steps_in(checkpoints_)) remove_step(before);
    publish_folder(folder_, final_name_);
    return final_name_;
  }
  if (!is_there_already(final_name_, written)) publish_folder(folder_, final_name_);
  point_at(final_name_, kLatest);
  return final_name_;
}

fs::path save(const fs::path& checkpoints, const SaveRequest& request) {
  StartedSave started(checkpoints, request.step, request.is_sound);
  std::map<std::string, FileDigest> written =
      write_files_of(kOnlyWriter, request.plan, started.folder());
  SWITCHYARD_CHECK(written.size() == request.plan.size(), "writer {} has {} of {} files",
                   kOnlyWriter, written.size(), request.plan.size());
  return started.finish(request, std::move(written));
}

void remove_unfinished(const fs::path& checkpoints) {
  const auto is_unfinished = [](const std::string& name) {
    return name.starts_with(fmt::format(".{}", config::kStepPrefix)) &&
           name.ends_with(kTemporarySuffix);
  };
  for (const fs::path& folder : folders_in(checkpoints, is_unfinished)) {
    log::info("removing {}, a checkpoint that was not finished", folder.string());
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
}

std::vector<fs::path> steps_in(const fs::path& checkpoints) {
  return folders_in(checkpoints, &config::is_step_name);
}

bool is_marked_unsound(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name.ends_with(config::kUnsoundSuffix) && config::step_in_name(name);
}

std::vector<fs::path> unsound_steps_in(const fs::path& checkpoints) {
  return folders_in(checkpoints, &is_marked_unsound);
}

fs::path find_step(const fs::path& checkpoints, std::int64_t step) {
  fs::path folder = checkpoints / config::step_name(step);
  if (config::is_checkpoint(folder)) return folder;
  folder += config::kUnsoundSuffix;
  return config::is_checkpoint(folder) ? folder : fs::path();
}

std::int64_t step_of(const fs::path& folder) {
  const auto step = config::step_in_name(folder.filename().string());
  SWITCHYARD_CHECK(step.has_value(), "{} is no step", folder.string());
  return *step;
}

void remove_step(const fs::path& folder) {
  const fs::path hidden = name_of_removed(folder);
  rename_folder(folder, hidden);
  std::error_code error;
  fs::remove_all(hidden, error);
  if (error) {
    throw StorageError(fmt::format("cannot remove {}: {}", hidden.string(), error.message()));
  }
}

fs::path set_aside(const fs::path& folder, const std::string& reason) {
  fs::path name = folder;
  name += fmt::format(".{}", reason);
  for (int number = 2; fs::exists(name); ++number) {
    name = folder;
    name += fmt::format(".{}-{}", reason, number);
  }
  rename_folder(folder, name);
  return name;
}

fs::path pointed_at(const fs::path& checkpoints, const char* pointer) {
  const fs::path file = checkpoints / pointer;
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (!fs::exists(status) && fs::status_known(status)) return {};
  // Not "nothing is named": what the pointer keeps would be removed.
  if (error)
    throw StorageError(fmt::format("cannot look at {}: {}", file.string(), error.message()));
  if (!fs::is_regular_file(status)) return {};
  std::string name = read_file(file);
  while (!name.empty() && (name.back() == '\n' || name.back() == '\r')) name.pop_back();
  if (config::is_step_name(name)) return checkpoints / name;
  throw DataError(fmt::format("{}: holds '{}', expected a name such as step-000500", file.string(),
                              name.substr(0, 80)),
                  "name the step's folder instead of the run");
}

void point_at(const fs::path& folder, const char* pointer) {
  const fs::path file = folder.parent_path() / pointer;
  std::error_code error;
  if (fs::is_directory(fs::symlink_status(file, error))) {
    throw StorageError(
        fmt::format("{} is a folder; the name of a checkpoint is written there", file.string()),
        "move that folder elsewhere");
  }
  write_file_atomically(file, folder.filename().string() + "\n");
}

Checkpoint Checkpoint::open(const fs::path& path, const ReadContents& read) {
  return open_step(step_folder(path), read);
}

Checkpoint Checkpoint::open_step(const fs::path& folder, const ReadContents& read) {
  if (!read) return of_manifest(folder, verify(folder));
  Manifest manifest = verify(folder, Check::sizes);
  if (const std::string file = read(folder); !file.empty()) throw other_contents(folder / file);
  return of_manifest(folder, std::move(manifest));
}

Checkpoint Checkpoint::open_checked_step(const fs::path& folder) {
  return of_manifest(folder, verify(folder, Check::sizes));
}

Checkpoint Checkpoint::of_manifest(const fs::path& folder, Manifest manifest) {
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  checkpoint.step_ = manifest.step;
  checkpoint.tokenizer_file_ = manifest.tokenizer_file;
  for (const auto& [name, digest] : manifest.files) checkpoint.files_.insert(name);
  checkpoint.environment_ = std::move(manifest.environment);
  return checkpoint;
}

NewestSound open_newest_sound(const fs::path& checkpoints, const ReadContents& read) {
  NewestSound found;
  std::vector<fs::path> steps = steps_in(checkpoints);
  for (; !steps.empty(); steps.pop_back()) {
    try {
      found.checkpoint = Checkpoint::open_step(steps.back(), read);
      return found;
    } catch (const Damaged& error) {
      found.damaged.push_back({.folder = steps.back(), .reason = error.what()});
    }
  }
  if (found.damaged.empty()) return found;
  std::string reasons;
  for (const NewestSound::Damaged& each : found.damaged) reasons += "\n" + each.reason;
  throw DataError(fmt::format("{} holds no sound checkpoint:{}", checkpoints.string(), reasons),
                  "nothing was changed; restore one of them, or start a new run");
}

fs::path Checkpoint::config() const {
  return folder_ / kConfig;
}

TensorFiles Checkpoint::tensors_of(const char* kind) const {
  std::vector<fs::path> paths;
  for (const std::string& file : files_of_kind(kind, files_)) paths.push_back(folder_ / file);
  return {folder_.string(), paths};
}

TensorFiles Checkpoint::weights() const {
  return tensors_of(kWeights);
}

TensorFiles Checkpoint::router_state() const {
  return tensors_of(kRouterState);
}

TensorFiles Checkpoint::optimizer() const {
  return tensors_of(kOptimizer);
}

std::string Checkpoint::training_state() const {
  if (!files_.contains(kTrainingState)) return {};
  return read_file(folder_ / kTrainingState);
}

}  // namespace switchyard::checkpoint
