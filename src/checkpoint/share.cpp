#include "switchyard/checkpoint/share.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "checkpoint/manifest.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"

namespace switchyard::checkpoint {
namespace fs = std::filesystem;
namespace {

// The largest first, each to the share that has fewest bytes so far.
std::vector<std::string> files_of_share(const Manifest& manifest, std::int64_t part,
                                        std::int64_t num_parts) {
  std::vector<std::pair<std::string, std::uint64_t>> files;
  for (const auto& [name, digest] : manifest.files) files.emplace_back(name, digest.bytes);
  std::stable_sort(files.begin(), files.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::uint64_t> bytes_of_part(static_cast<std::size_t>(num_parts));
  std::vector<std::string> own;
  for (const auto& [name, bytes] : files) {
    const auto least = std::min_element(bytes_of_part.begin(), bytes_of_part.end());
    *least += bytes;
    if (least - bytes_of_part.begin() == part) own.push_back(name);
  }
  return own;
}

}  // namespace

std::string damaged_file_in_share(const fs::path& folder, std::int64_t part,
                                  std::int64_t num_parts) {
  SWITCHYARD_CHECK(0 <= part && part < num_parts, "part {} of {}", part, num_parts);
  const Manifest manifest = verify(folder, Check::sizes);
  for (const std::string& file : files_of_share(manifest, part, num_parts)) {
    if (xxh3_of_file(folder / file) != manifest.files.at(file).xxh3) return file;
  }
  return {};
}

bool reads_as_written(const fs::path& folder, const std::string& file) {
  return xxh3_of_file(folder / file) == verify(folder, Check::sizes).files.at(file).xxh3;
}

}  // namespace switchyard::checkpoint
