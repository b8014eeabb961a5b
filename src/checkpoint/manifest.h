// manifest.json of a checkpoint: what the folder must hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/format/json.h"

namespace switchyard::checkpoint {

inline constexpr int kVersion = 1;
inline constexpr const char* kManifest = config::kCheckpointManifestName;
inline constexpr const char* kWeights = "model.safetensors";
inline constexpr const char* kRouterState = "router_state.safetensors";
inline constexpr const char* kOptimizer = "optimizer.safetensors";
inline constexpr const char* kTrainingState = "training_state.json";
inline constexpr const char* kConfig = config::kResolvedConfigName;

// A file is missing or not what was written.
class Damaged : public DataError {
 public:
  Damaged(const std::filesystem::path& file, const std::string& reason);
};

struct Manifest {
  std::int64_t step = 0;
  std::string tokenizer_file;
  std::map<std::string, FileDigest> files;
  std::map<std::string, std::string> environment;
};

// The files that hold tensors of a kind, whose name is kWeights, kRouterState or kOptimizer: that
// one, and shards of it (model-00002-of-00003.safetensors).
[[nodiscard]] std::vector<std::string> files_of_kind(const std::string& kind,
                                                     const std::set<std::string>& files);

// model-00002-of-00003.safetensors of kWeights; numbers count from 1.
[[nodiscard]] std::string shard_name(const std::string& kind, int number, int count);

// Bytes of a file. Throws Damaged when it is missing, StorageError when it cannot be read.
[[nodiscard]] std::uint64_t size_of(const std::filesystem::path& file);

// The file's text: the members with a checksum over them, so that damage to the manifest itself is
// told from another version.
[[nodiscard]] std::string manifest_text(format::Json members);

// What to say of a file that was just written and is not what was.
[[nodiscard]] StorageError does_not_read_back(const Damaged& damaged);
// Reads a file that was just written. Throws that when it is not what was written.
void check_reads_back(const std::filesystem::path& file, const FileDigest& written);

enum class Check {
  contents,  // reads every file
  sizes,     // where other processes check the contents, or just have
};

// Of a file that is not what was written.
[[nodiscard]] Damaged other_contents(const std::filesystem::path& file);

// Reads the manifest and checks every file that it lists; nothing else in the folder is read.
// Throws Damaged, DataError for another version, StorageError.
[[nodiscard]] Manifest verify(const std::filesystem::path& folder, Check check = Check::contents);

}  // namespace switchyard::checkpoint
