#include "switchyard/checkpoint/checkpoint.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <utility>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/log.h"
#include "switchyard/format/json.h"
#include "switchyard/format/safetensors.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;
constexpr const char* kManifest = config::kCheckpointManifestName;
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kRouterState = "router_state.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kTrainingState = "training_state.json";
constexpr const char* kConfig = config::kResolvedConfigName;
constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kTemporarySuffix = ".tmp";

format::ScalarType file_type(const NamedTensor& named) {
  SWITCHYARD_CHECK(named.tensor.device().is_cpu(), "{} is not on the CPU", named.name);
  switch (named.tensor.scalar_type()) {
    case at::kFloat:
      return format::ScalarType::kF32;
    case at::kDouble:
      return format::ScalarType::kF64;
    default:
      throw InternalError(fmt::format("a checkpoint holds fp32 and fp64, but {} is {}", named.name,
                                      at::toString(named.tensor.scalar_type())));
  }
}

void write_tensors(const fs::path& path, const std::vector<NamedTensor>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  std::vector<format::TensorInfo> infos;
  infos.reserve(tensors.size());
  for (const NamedTensor& named : tensors) {
    infos.push_back(
        {.name = named.name, .type = file_type(named), .shape = named.tensor.sizes().vec()});
  }
  format::SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const NamedTensor& named : tensors) {
    const at::Tensor contiguous = named.tensor.detach().contiguous();
    writer.append(named.name, {static_cast<const std::byte*>(contiguous.const_data_ptr()),
                               static_cast<std::size_t>(contiguous.nbytes())});
  }
  writer.commit();
}

std::map<std::string, at::Tensor> read_tensors(const fs::path& path) {
  const MappedFile file(path);
  const format::SafetensorsFile parsed = format::parse_safetensors(file.bytes(), path.string());
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, view] : parsed.tensor) {
    at::ScalarType type = at::kFloat;
    if (view.type == format::ScalarType::kF64) {
      type = at::kDouble;
    } else if (view.type != format::ScalarType::kF32) {
      throw DataError(fmt::format("{}: tensor '{}' is {}, expected F32 or F64", path.string(), name,
                                  format::scalar_type_name(view.type)));
    }
    const at::Tensor tensor = at::empty(view.shape, at::TensorOptions().dtype(type));
    if (!view.bytes.empty()) {
      std::memcpy(tensor.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
    }
    tensors.emplace(name, tensor);
  }
  return tensors;
}

fs::path temporary_name(const fs::path& step) {
  return step.parent_path() /
         fmt::format(".{}.{}{}", step.filename().string(), ::getpid(), kTemporarySuffix);
}

bool is_step_name(const std::string& name) {
  return name.starts_with(kStepPrefix) && name.size() > kStepPrefix.size() &&
         name.find_first_not_of("0123456789", kStepPrefix.size()) == std::string::npos;
}

void rename_folder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) {
    throw StorageError(
        fmt::format("cannot rename {} to {}: {}", from.string(), to.string(), error.message()));
  }
}

// A new folder that is removed again unless it was renamed.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {
    std::error_code error;
    if (!fs::create_directories(path_, error)) {
      throw StorageError(fmt::format("cannot create {}: {}", path_.string(), error.message()),
                         "check that the folder is writable and has free space");
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

struct Manifest {
  std::int64_t step = 0;
  std::string tokenizer_file;
  std::set<std::string> files;
  std::map<std::string, std::string> environment;
};

DataError damaged(const fs::path& file, const std::string& reason) {
  return DataError(fmt::format("{}: {}", file.string(), reason),
                   "the checkpoint is incomplete or damaged; use another step of the run");
}

void verify_file(const fs::path& file, const nlohmann::json& entry) {
  if (!fs::is_regular_file(file)) throw damaged(file, "missing");
  const auto bytes = entry.at("bytes").get<std::uint64_t>();
  if (fs::file_size(file) != bytes) {
    throw damaged(file, fmt::format("{} bytes, the manifest says {}", fs::file_size(file), bytes));
  }
  if (xxh3_of_file(file) != entry.at("xxh3").get<std::string>()) {
    throw damaged(file, "its checksum differs from the manifest's");
  }
}

// Reads the manifest and checks every file that it lists; nothing else in the folder is read.
Manifest verify(const fs::path& folder) {
  const fs::path path = folder / kManifest;
  if (!fs::is_regular_file(path)) throw damaged(path, "missing");
  const nlohmann::json json = format::parse_json(read_file(path), path.string());
  Manifest manifest;
  try {
    const int version = json.at("version").get<int>();
    if (version != kVersion) {
      throw DataError(
          fmt::format("{}: version {} is not known, expected {}", path.string(), version, kVersion),
          "it was written by another version of switchyard");
    }
    manifest.step = json.at("step").get<std::int64_t>();
    manifest.tokenizer_file = json.at("tokenizer").get<std::string>();
    const nlohmann::json& files = json.at("files");
    for (const char* name : {kWeights, kConfig, manifest.tokenizer_file.c_str()}) {
      if (!files.contains(name)) throw damaged(path, fmt::format("does not list '{}'", name));
    }
    for (const auto& [name, entry] : files.items()) {
      if (name.empty() || name[0] == '.' ||
          name.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
        throw damaged(path, fmt::format("lists '{}', which is no file name", name));
      }
      verify_file(folder / name, entry);
      manifest.files.insert(name);
    }
    for (const auto& [name, value] : json.at("environment").items()) {
      if (value.is_string()) manifest.environment.emplace(name, value.get<std::string>());
    }
  } catch (const nlohmann::json::exception& error) {
    throw damaged(path, error.what());
  }
  return manifest;
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
  for (const fs::path& checkpoints : {path / config::kCheckpointsFolderName, path}) {
    const fs::path latest = checkpoints / kLatest;
    if (fs::is_regular_file(latest)) {
      std::string name = read_file(latest);
      while (!name.empty() && (name.back() == '\n' || name.back() == '\r')) name.pop_back();
      if (is_step_name(name)) return checkpoints / name;
      throw DataError(fmt::format("{}: holds '{}', expected a name such as step-000500",
                                  latest.string(), name.substr(0, 80)),
                      "name the step's folder instead of the run");
    }
    // The first save was stopped between its last two renames.
    if (const fs::path newest = newest_step(checkpoints); !newest.empty()) return newest;
  }
  throw DataError(fmt::format("{} holds no checkpoint", path.string()),
                  "expected a run folder, its checkpoints folder, or a folder such as "
                  "RUN/checkpoints/step-000500");
}

}  // namespace

fs::path save(const fs::path& checkpoints, const SaveRequest& request) {
  const std::string name = fmt::format("{}{:06}", kStepPrefix, request.step);
  const fs::path final_name = checkpoints / name;
  if (fs::exists(final_name)) {
    throw StorageError(fmt::format("{} is there already", final_name.string()),
                       "a checkpoint is never overwritten; move it away");
  }
  remove_unfinished(checkpoints);
  const TemporaryFolder temporary(temporary_name(final_name));
  const fs::path& folder = temporary.path();

  std::vector<std::string> files{kWeights, kConfig, request.tokenizer_file};
  write_tensors(folder / kWeights, request.weights, {{"format", "pt"}});
  if (!request.router_state.empty()) {
    write_tensors(folder / kRouterState, request.router_state, {});
    files.emplace_back(kRouterState);
  }
  if (!request.optimizer.empty()) {
    write_tensors(folder / kOptimizer, request.optimizer, {});
    files.emplace_back(kOptimizer);
  }
  if (!request.training_state.empty()) {
    write_file_atomically(folder / kTrainingState, request.training_state);
    files.emplace_back(kTrainingState);
  }
  write_file_atomically(folder / kConfig, request.resolved_config);
  write_file_atomically(folder / request.tokenizer_file, request.tokenizer_bytes);

  nlohmann::json manifest;
  manifest["version"] = kVersion;
  manifest["step"] = request.step;
  manifest["tokenizer"] = request.tokenizer_file;
  manifest["environment"] = request.environment;
  for (const std::string& file : files) {
    manifest["files"][file] = {{"bytes", fs::file_size(folder / file)},
                               {"xxh3", xxh3_of_file(folder / file)}};
  }
  write_file_atomically(folder / kManifest, manifest.dump(2) + "\n");
  try {
    verify(folder);
  } catch (const DataError& error) {
    throw StorageError(fmt::format("what was written does not read back: {}", error.what()),
                       "the disk may be failing");
  }

  publish_folder(folder, final_name);
  point_at(final_name, kLatest);
  return final_name;
}

void remove_unfinished(const fs::path& checkpoints) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(checkpoints, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(fmt::format(".{}", kStepPrefix)) || !name.ends_with(kTemporarySuffix)) {
      continue;
    }
    log::info("removing {}, a checkpoint that was not finished", entry.path().string());
    fs::remove_all(entry.path(), error);
  }
}

std::vector<fs::path> steps_in(const fs::path& checkpoints) {
  std::vector<fs::path> steps;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(checkpoints, error)) {
    if (is_step_name(entry.path().filename().string())) steps.push_back(entry.path());
  }
  // Six digits and more sort by length, then by text.
  std::sort(steps.begin(), steps.end(), [](const fs::path& a, const fs::path& b) {
    const std::string left = a.filename().string();
    const std::string right = b.filename().string();
    return left.size() != right.size() ? left.size() < right.size() : left < right;
  });
  return steps;
}

void remove_step(const fs::path& folder) {
  const fs::path hidden = temporary_name(folder);
  rename_folder(folder, hidden);
  std::error_code error;
  fs::remove_all(hidden, error);
  if (error) {
    throw StorageError(fmt::format("cannot remove {}: {}", hidden.string(), error.message()));
  }
}

fs::path set_aside(const fs::path& folder) {
  fs::path name = folder;
  name += ".damaged";
  for (int number = 2; fs::exists(name); ++number) {
    name = folder;
    name += fmt::format(".damaged-{}", number);
  }
  rename_folder(folder, name);
  return name;
}

void point_at(const fs::path& folder, const char* pointer) {
  write_file_atomically(folder.parent_path() / pointer, folder.filename().string() + "\n");
}

Checkpoint Checkpoint::open(const fs::path& path) {
  Checkpoint checkpoint;
  checkpoint.folder_ = step_folder(path);
  Manifest manifest = verify(checkpoint.folder_);
  checkpoint.step_ = manifest.step;
  checkpoint.tokenizer_file_ = manifest.tokenizer_file;
  checkpoint.files_ = std::move(manifest.files);
  checkpoint.environment_ = std::move(manifest.environment);
  return checkpoint;
}

NewestSound open_newest_sound(const fs::path& checkpoints) {
  NewestSound found;
  std::vector<fs::path> steps = steps_in(checkpoints);
  for (; !steps.empty(); steps.pop_back()) {
    try {
      if (!config::is_checkpoint(steps.back())) throw damaged(steps.back() / kManifest, "missing");
      found.checkpoint = Checkpoint::open(steps.back());
      return found;
    } catch (const Error& error) {
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

std::map<std::string, at::Tensor> Checkpoint::weights() const {
  return read_tensors(folder_ / kWeights);
}

std::map<std::string, at::Tensor> Checkpoint::router_state() const {
  if (!files_.contains(kRouterState)) return {};
  return read_tensors(folder_ / kRouterState);
}

std::map<std::string, at::Tensor> Checkpoint::optimizer() const {
  if (!files_.contains(kOptimizer)) return {};
  return read_tensors(folder_ / kOptimizer);
}

std::string Checkpoint::training_state() const {
  if (!files_.contains(kTrainingState)) return {};
  return read_file(folder_ / kTrainingState);
}

}  // namespace switchyard::checkpoint
