// Every shipped config of a run loads: `switchyard config show` answers 0. Those of configs/glue
// are settings over a checkpoint, which tests/glue loads.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace switchyard::architecture {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> shipped_configs() {
  std::vector<fs::path> result;
  const fs::path folder = fs::path(SWITCHYARD_SOURCE_DIR) / "configs";
  if (fs::exists(folder)) {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      const bool is_settings = entry.path().parent_path().filename() == "glue";
      if (entry.path().extension() == ".yaml" && !is_settings) result.push_back(entry.path());
    }
  }
  std::sort(result.begin(), result.end());
  return result;
}

// Exit code and combined output of a shell command.
std::pair<int, std::string> run(const std::string& command) {
  std::string output;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return {-1, "popen failed"};
  std::array<char, 4096> buffer{};
  for (size_t got = 0; (got = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    output.append(buffer.data(), got);
  }
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

class ShippedConfig : public ::testing::TestWithParam<fs::path> {};

TEST_P(ShippedConfig, Loads) {
  const std::string switchyard = std::string(SWITCHYARD_BINARY_DIR) + "/switchyard";
  const auto [code, output] = run("'" + switchyard + "' config show '" + GetParam().string() + "'");
  EXPECT_EQ(code, 0) << output;
}

std::string test_name(const ::testing::TestParamInfo<fs::path>& info) {
  std::string name = info.param.stem().string();
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig, ::testing::ValuesIn(shipped_configs()), test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ShippedConfig);

TEST(ShippedConfigs, IncludeQuickstartAndTiny) {
  for (const std::string name : {"quickstart.yaml", "tiny.yaml"}) {
    EXPECT_TRUE(fs::exists(fs::path(SWITCHYARD_SOURCE_DIR) / "configs" / name)) << name;
  }
}

}  // namespace
}  // namespace switchyard::architecture
