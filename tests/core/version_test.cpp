#include "switchyard/core/version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "switchyard/core/file.h"

namespace switchyard {
namespace {

TEST(Version, IsTheOneOfTheBuild) {
  const std::string build = read_file(std::string(SWITCHYARD_SOURCE_DIR) + "/CMakeLists.txt");
  EXPECT_THAT(build,
              testing::HasSubstr("project(switchyard VERSION " + std::string(kVersion) + " "));
}

}  // namespace
}  // namespace switchyard
