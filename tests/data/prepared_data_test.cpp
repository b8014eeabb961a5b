#include "switchyard/data/prepared_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "data/small_text.h"
#include "support/damage.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class OpenPrepared : public ::testing::Test {
 protected:
  OpenPrepared() {
    write_file_atomically(folder_ / "a.txt", testing::small_text(3000));
    PrepareOptions options;
    options.inputs = {(folder_ / "a.txt").string()};
    options.tokenizer = "bytes";
    options.output = data_;
    (void)prepare(options);
  }
  void expect_refused(const std::string& message) {
    try {
      (void)open_prepared(data_);
      ADD_FAILURE() << "opened, expected: " << message;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
      EXPECT_THAT(error.hint(), HasSubstr("switchyard prepare"));
    }
  }

  testing::TemporaryFolder folder_;
  fs::path data_ = folder_ / "data";
};

TEST_F(OpenPrepared, EveryMissingFileIsNamed) {
  for (const char* name : {"train.bin", "train.idx", "validation.bin", "validation.idx",
                           "tokenizer.json", "data.json"}) {
    fs::rename(data_ / name, data_ / "away");
    expect_refused(name);
    fs::rename(data_ / "away", data_ / name);
  }
  EXPECT_NO_THROW((void)open_prepared(data_));
}

TEST_F(OpenPrepared, FilesOfAnotherPreparationAreNoticed) {
  for (const char* extension : {".bin", ".idx"}) {
    fs::copy_file(data_ / (std::string("validation") + extension),
                  data_ / (std::string("train") + extension), fs::copy_options::overwrite_existing);
  }
  expect_refused("data.json says");
}

TEST_F(OpenPrepared, ATokenizerOfAnotherHashIsNoticed) {
  std::string text = read_file(data_ / "data.json");
  const auto at = text.find("\"xxh3\": \"") + 9;
  text[at] = text[at] == '0' ? '1' : '0';
  write_file_atomically(data_ / "data.json", text);
  expect_refused("not the tokenizer");
}

TEST_F(OpenPrepared, ABrokenSidecarIsRefusedWithTheCommandThatMakesOne) {
  write_file_atomically(data_ / "data.json", "{\"format\": \"switchyard-data\"");
  expect_refused("data.json");
  write_file_atomically(data_ / "data.json", "{\"format\": \"other\"}");
  expect_refused("does not describe prepared data");
}

TEST_F(OpenPrepared, ATokenizerPathCannotLeaveTheFolder) {
  std::string text = read_file(data_ / "data.json");
  const std::string name = "\"tokenizer.json\"";
  text.replace(text.find(name), name.size(), "\"../../a.txt\"");
  write_file_atomically(data_ / "data.json", text);
  expect_refused("data/a.txt is missing");
}

TEST_F(OpenPrepared, EveryDamagedSidecarIsRefusedOrReadButNeverCrashes) {
  const std::string text = read_file(data_ / "data.json");
  const testing::Reader read = [](std::span<const std::byte> bytes) {
    (void)parse_sidecar({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "x");
  };
  const auto cut = testing::read_every_truncation(text, read);
  EXPECT_GE(cut.refused + 1, cut.tried) << "only the last newline may be missing";
  EXPECT_GT(testing::read_byte_flips(text, read).refused, 0U);
}

TEST_F(OpenPrepared, TheSidecarIsWrittenAndReadWithoutLoss) {
  const std::string text = read_file(data_ / "data.json");
  EXPECT_EQ(write_sidecar(parse_sidecar(text, "x")), text);
}

}  // namespace
}  // namespace switchyard::data
