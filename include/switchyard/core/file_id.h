// Which file a name or a descriptor leads to, whatever it is called.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <utility>

namespace switchyard {

using FileId = std::pair<std::uint64_t, std::uint64_t>;  // device and inode

[[nodiscard]] inline FileId file_id(const struct stat& status) {
  return {status.st_dev, status.st_ino};
}
// None where nothing is, or nothing is open.
[[nodiscard]] inline std::optional<FileId> file_id(const std::filesystem::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? std::optional(file_id(status)) : std::nullopt;
}
[[nodiscard]] inline std::optional<FileId> file_id(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 ? std::optional(file_id(status)) : std::nullopt;
}

}  // namespace switchyard
