// How the front starts the engine under limits, and where the engine cannot be started.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/command.h"
#include "support/temporary_folder.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;

class Limits : public ::testing::Test {
 protected:
  [[nodiscard]] static fs::path built() { return SWITCHYARD_BINARY_DIR; }
  // `doctor`, which needs the engine, under limits of the shell.
  Answer doctor_under(const std::string& limits, const fs::path& programs = built()) {
    write_file_atomically(folder_ / "script.sh",
                          limits + "\nexec '" + (programs / "switchyard").string() + "' doctor\n");
    return testing::run_in(folder_.path(), "bash script.sh");
  }
  // The front beside another engine.
  void put_engine(const std::string& bytes) {
    fs::copy_file(built() / "switchyard", folder_ / "switchyard",
                  fs::copy_options::overwrite_existing);
    write_file_atomically(folder_ / "switchyard-engine", bytes);
    fs::permissions(folder_ / "switchyard-engine", fs::perms::owner_all);
  }
  // A program that needs a library which is nowhere.
  static std::string program_without_library() {
    std::string bytes = read_file("/bin/true");
    const std::size_t name = bytes.find(std::string("libc.so.6") + '\0');
    EXPECT_NE(name, std::string::npos);
    return bytes.replace(name, 9, "libq.so.6");
  }

  testing::TemporaryFolder folder_;
};

TEST_F(Limits, NoRoomForTheLibrariesIsMemory) {
  const Answer answer = doctor_under("ulimit -v 600000");
  EXPECT_EQ(answer.code, 71) << answer.errors;
  EXPECT_THAT(answer.errors, HasSubstr("the limit on memory leaves no room for LibTorch"));
}

TEST_F(Limits, ALibraryThatIsMissingIsNoMatterOfMemory) {
  put_engine(program_without_library());
  const Answer answer = doctor_under("ulimit -v 600000", folder_.path());
  EXPECT_EQ(answer.code, 74) << answer.errors;
  EXPECT_THAT(answer.errors, AllOf(HasSubstr("libq.so.6: cannot open shared object file"),
                                   HasSubstr("hint: "), Not(HasSubstr("memory"))));
}

TEST_F(Limits, AnEngineThatIsNoProgramIsNoMatterOfMemory) {
  put_engine("not a program");
  const Answer answer = doctor_under("ulimit -v 600000", folder_.path());
  EXPECT_EQ(answer.code, 74) << answer.errors;
  EXPECT_THAT(answer.errors, AllOf(HasSubstr("Exec format error"), Not(HasSubstr("memory"))));
}

TEST_F(Limits, ASmallStackIsEnlargedOrRefused) {
  EXPECT_EQ(doctor_under("ulimit -S -s 64").code, 0);
  const Answer answer = doctor_under("ulimit -s 64");
  EXPECT_EQ(answer.code, 71);
  EXPECT_THAT(answer.errors, AllOf(HasSubstr("the limit on the stack, 64K, leaves no room"),
                                   HasSubstr("`ulimit -H -s`")));
}

}  // namespace
}  // namespace switchyard
