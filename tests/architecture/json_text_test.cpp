// nlohmann's dump() throws at bytes that are no UTF-8, which paths and variables may hold:
// format::json_text() does not, so nothing else calls it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace switchyard::architecture {
namespace {

namespace fs = std::filesystem;

TEST(JsonText, IsTheOnlyWayToWriteJson) {
  const fs::path source = fs::path(SWITCHYARD_SOURCE_DIR) / "src";
  // The config layer is below `format`, and asks for replacement itself.
  const std::set<std::string> allowed = {"format/json.cpp", "config/yaml/value.cpp",
                                         "data/tokenizer.cpp"};  // which writes constants
  int num_files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(source)) {
    if (!entry.is_regular_file()) continue;
    ++num_files;
    std::ifstream file(entry.path());
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::string name = entry.path().lexically_relative(source).generic_string();
    if (allowed.contains(name)) continue;
    EXPECT_EQ(text.find(".dump("), std::string::npos) << name << ": use format::json_text()";
  }
  EXPECT_GT(num_files, 100);
}

}  // namespace
}  // namespace switchyard::architecture
