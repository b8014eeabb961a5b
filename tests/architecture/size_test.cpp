// A file that grows past 400 lines, or a folder past 20 bodies, holds more than one thing: cut it
// by what the parts are about, a folder into subfolders. Folders of one file per op are as long as
// the list of ops.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

namespace switchyard::architecture {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostLines = 400;
constexpr int kMostBodies = 20;

bool is_of_ops(const std::string& folder) {
  return folder == "src/ops" || folder == "tests/ops" || folder == "tests/kernels" ||
         folder == "tests/kernels/cuda" || folder.starts_with("kernels/");
}

TEST(Size, NoFileIsTooLongAndNoFolderTooFull) {
  const fs::path root = SWITCHYARD_SOURCE_DIR;
  const std::set<std::string> kinds{".h", ".cpp", ".cu", ".cuh"};
  std::map<std::string, int> num_bodies;
  for (const char* top : {"include", "src", "kernels", "tests", "tools"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string kind = entry.path().extension().string();
      if (!entry.is_regular_file() || !kinds.contains(kind)) continue;
      std::ifstream file(entry.path());
      const auto num_lines = std::count(std::istreambuf_iterator<char>(file), {}, '\n');
      EXPECT_LE(num_lines, kMostLines) << entry.path();
      const fs::path folder = entry.path().lexically_relative(root).parent_path();
      if (kind == ".cpp" || kind == ".cu") ++num_bodies[folder.generic_string()];
    }
  }
  EXPECT_GT(num_bodies.size(), 30U) << "the test looked at hardly any folder";
  for (const auto& [folder, number] : num_bodies) {
    EXPECT_TRUE(is_of_ops(folder) || number <= kMostBodies) << folder << " has " << number;
  }
}

}  // namespace
}  // namespace switchyard::architecture
