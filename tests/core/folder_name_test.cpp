#include "switchyard/core/folder_name.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace switchyard {
namespace {

TEST(NameOfFolder, IsTheSameHoweverTheFolderIsSpelled) {
  for (const char* path : {"runs/a", "runs/a/", "runs/a//", "runs/a/.", "runs/b/../a", "/x/a"}) {
    EXPECT_EQ(name_of_folder(path), "a") << path;
  }
  const std::string here = std::filesystem::current_path().filename().string();
  EXPECT_EQ(name_of_folder("."), here);
  EXPECT_EQ(name_of_folder("./"), here);
  EXPECT_EQ(name_of_folder("x/.."), here);
  EXPECT_EQ(name_of_folder("/"), "/");
}

}  // namespace
}  // namespace switchyard
