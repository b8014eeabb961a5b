#include "checkpoint/manifest.h"

#include <fcntl.h>
#include <unistd.h>
#include <charconv>
#include <optional>
#include <system_error>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/core/file.h"
#include "switchyard/core/folder_name.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/text.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kChecksum = "checksum";

// "00002-of-00003" of a shard's name.
struct ShardNumber {
  std::uint64_t number = 0;
  std::uint64_t count = 0;
};

constexpr std::string_view kTensorSuffix = ".safetensors";
constexpr std::string_view kOf = "-of-";
constexpr std::size_t kFewestDigits = 5;

std::string_view stem_of(std::string_view kind) {
  return kind.substr(0, kind.size() - kTensorSuffix.size());
}

std::optional<ShardNumber> shard_number(std::string_view file, std::string_view kind) {
  const std::string prefix = fmt::format("{}-", stem_of(kind));
  if (!file.starts_with(prefix) || !file.ends_with(kTensorSuffix) ||
      file.size() < prefix.size() + kTensorSuffix.size()) {
    return std::nullopt;
  }
  file.remove_prefix(prefix.size());
  file.remove_suffix(kTensorSuffix.size());
  const std::size_t of = file.find(kOf);
  if (of == std::string_view::npos) return std::nullopt;
  const auto parse = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool whole = error == std::errc() && end == digits.data() + digits.size();
    if (!whole || digits.size() < kFewestDigits) return std::nullopt;
    return value;
  };
  const auto number = parse(file.substr(0, of));
  const auto count = parse(file.substr(of + kOf.size()));
  if (!number.has_value() || !count.has_value()) return std::nullopt;
  return ShardNumber{.number = *number, .count = *count};
}

// A set of shards is as good as none when one of them is not listed.
void check_shards(const fs::path& manifest, const std::set<std::string>& files) {
  for (const char* kind : {kWeights, kRouterState, kOptimizer}) {
    std::set<std::uint64_t> numbers;
    std::set<std::uint64_t> counts;
    for (const std::string& file : files) {
      const auto shard = shard_number(file, kind);
      if (!shard.has_value()) continue;
      const bool is_new = numbers.insert(shard->number).second;
      counts.insert(shard->count);
      if (!is_new || shard->number < 1 || shard->number > shard->count || counts.size() > 1) {
        throw Damaged(manifest, fmt::format("lists '{}', which belongs to no set of shards", file));
      }
    }
    if (numbers.empty()) continue;
    if (numbers.size() != *counts.begin() || files.contains(kind)) {
      throw Damaged(manifest, fmt::format("lists {} of {} shards of {}{}", numbers.size(),
                                          *counts.begin(), stem_of(kind),
                                          files.contains(kind) ? " beside the whole file" : ""));
    }
  }
}

std::string checksum_of(format::Json members) {
  members.erase(kChecksum);
  return to_hex(xxh3(format::json_text(members)));
}

void verify_file(const fs::path& file, const format::Json& entry, Check check) {
  const auto bytes = entry.at("bytes").get<std::uint64_t>();
  if (const std::uint64_t size = size_of(file); size != bytes) {
    throw Damaged(file, fmt::format("{}, the manifest says {}",
                                    counted(static_cast<std::int64_t>(size), "byte"), bytes));
  }
  if (check == Check::contents && xxh3_of_file(file) != entry.at("xxh3").get<std::string>()) {
    throw other_contents(file);
  }
}

}  // namespace

Damaged::Damaged(const fs::path& file, const std::string& reason)
    : DataError(fmt::format("{}: {}", file.string(), reason),
                "the checkpoint is incomplete or damaged; use another step of the run") {}

Damaged other_contents(const fs::path& file) {
  return {file, "its checksum differs from the manifest's"};
}

void check_reads_back(const fs::path& file, const FileDigest& written) {
  // From the disk, or the machine that has it, and not from the memory of this one.
  if (const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC); descriptor >= 0) {
    (void)::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
  }
  try {
    verify_file(file, {{"bytes", written.bytes}, {"xxh3", written.xxh3}}, Check::contents);
  } catch (const Damaged& damaged) {
    throw does_not_read_back(damaged);
  }
}

StorageError does_not_read_back(const Damaged& damaged) {
  return StorageError(fmt::format("what was written does not read back: {}", damaged.what()),
                      "the disk may be failing");
}

std::vector<std::string> files_of_kind(const std::string& kind,
                                       const std::set<std::string>& files) {
  std::vector<std::string> found;
  for (const std::string& file : files) {
    if (file == kind || shard_number(file, kind).has_value()) found.push_back(file);
  }
  return found;
}

std::string shard_name(const std::string& kind, int number, int count) {
  return fmt::format("{}-{:05}{}{:05}{}", stem_of(kind), number, kOf, count, kTensorSuffix);
}

std::uint64_t size_of(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (status.type() == fs::file_type::not_found) throw Damaged(file, "missing");
  if (!error && status.type() != fs::file_type::regular) throw Damaged(file, "not a file");
  const std::uintmax_t size = error ? 0 : fs::file_size(file, error);
  if (error) throw StorageError(fmt::format("cannot read {}: {}", file.string(), error.message()));
  return size;
}

std::string manifest_text(format::Json members) {
  members[kChecksum] = checksum_of(members);
  return format::json_text(members, 2) + "\n";
}

Manifest verify(const fs::path& folder, Check check) {
  const fs::path path = folder / kManifest;
  (void)size_of(path);
  format::Json json;
  try {
    json = format::parse_json(read_file(path), path.string());
  } catch (const DataError& error) {
    throw Damaged(path, error.what());
  }
  if (!json.is_object() || json.value(kChecksum, format::Json()) != checksum_of(json)) {
    throw Damaged(path, "its own checksum is wrong");
  }
  Manifest manifest;
  try {
    const int version = json.at("version").get<int>();
    if (version != kVersion) {
      throw DataError(
          fmt::format("{}: version {} is not known, expected {}", path.string(), version, kVersion),
          "it was written by another version of switchyard");
    }
    manifest.step = json.at("step").get<std::int64_t>();
    const std::string step = name_of_folder(folder);  // however it is spelled: "step-000500/"
    if (config::is_step_name(step) && config::step_in_name(step) != manifest.step) {
      throw Damaged(path, fmt::format("holds step {}: the folder was renamed", manifest.step));
    }
    manifest.tokenizer_file = json.at("tokenizer").get<std::string>();
    const format::Json& files = json.at("files");
    std::set<std::string> names;
    for (const auto& [name, entry] : files.items()) names.insert(name);
    for (const char* name : {kWeights, kConfig, manifest.tokenizer_file.c_str()}) {
      const bool listed = name == std::string_view(kWeights) ? !files_of_kind(name, names).empty()
                                                             : names.contains(name);
      if (!listed) throw Damaged(path, fmt::format("does not list '{}'", name));
    }
    check_shards(path, names);
    for (const auto& [name, entry] : files.items()) {
      if (name.empty() || name[0] == '.' ||
          name.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
        throw Damaged(path, fmt::format("lists '{}', which is no file name", name));
      }
      verify_file(folder / name, entry, check);
      manifest.files[name] = {.bytes = entry.at("bytes").get<std::uint64_t>(),
                              .xxh3 = entry.at("xxh3").get<std::string>()};
    }
    for (const auto& [name, value] : json.at("environment").items()) {
      if (value.is_string()) manifest.environment.emplace(name, value.get<std::string>());
    }
  } catch (const nlohmann::json::exception& error) {
    throw Damaged(path, error.what());
  }
  return manifest;
}

}  // namespace switchyard::checkpoint
