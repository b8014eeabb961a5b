// Replacing a data set under death at every single file call.
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <string>

#include "data/prepare_fixture.h"
#include "support/file_faults.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;
using testing::file_faults;
using testing::FileFaults;

constexpr const char* kOld = "the old text\n";
constexpr const char* kNew = "a new and longer text\n";

class PrepareFault : public PrepareFixture {
 protected:
  // Prepares a data set of `text` into the folder, over what is there.
  PrepareOptions replacing_by(const std::string& text) {
    PrepareOptions what = options({file(text == kOld ? "old.txt" : "new.txt", text)});
    what.validation = 0.0;
    what.overwrite = true;
    what.num_samples = 0;
    return what;
  }
  // What training would read, after every check that can be made.
  std::string text_in_output() {
    const fs::path output = folder_ / "out";
    EXPECT_TRUE(config::holds_prepared_data(output));
    const PreparedData data = open_prepared(output);
    EXPECT_EQ(xxh3_of_file(config::data_set_file(output, "train.bin")), data.sidecar().train.hash);
    const format::IndexedDataset& train = data.dataset(Split::kTrain);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(train.num_tokens()));
    train.read(0, data.sidecar().vocab_size, ids);
    return data.tokenizer().decode(ids);
  }

  PrepareOptions old_ = replacing_by(kOld);
  PrepareOptions new_ = replacing_by(kNew);
};

TEST_F(PrepareFault, KilledAtAnyFileCallOfAReplacementTheOldOrTheNewDataSetIsThere) {
  bool seen_old = false;
  bool seen_new = false;
  const auto start_afresh = [&] {
    fs::remove_all(folder_ / "out");
    (void)prepare(old_);
    file("out/notes.txt", "not ours");
    file("out/tokenizer.model", "of an older data set");
  };
  int at = 0;
  for (start_afresh(); testing::dies_at_call(at, [&] { (void)prepare(new_); });
       start_afresh(), ++at) {
    SCOPED_TRACE("killed at call " + std::to_string(at));
    const std::string text = text_in_output();
    ASSERT_TRUE(text == kOld || text == kNew) << text;
    EXPECT_FALSE(seen_new && text == kOld) << "killed earlier, it was the new one";
    seen_old = seen_old || text == kOld;
    seen_new = seen_new || text == kNew;
    // The next run leaves nothing of this one.
    (void)prepare(new_);
    EXPECT_EQ(text_in_output(), kNew);
    std::size_t num_entries = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "out")) {
      ++num_entries;
      EXPECT_FALSE(entry.is_directory()) << entry.path();
    }
    EXPECT_EQ(num_entries, config::kDataSetFiles.size()) << "one tokenizer less, notes.txt more";
  }
  EXPECT_GT(at, 10);
  EXPECT_TRUE(seen_old && seen_new);
}

TEST_F(PrepareFault, AnErrorOfAnyFileCallLeavesTheOldOrTheNewDataSet) {
  bool was_hit = true;
  for (int at = 0; was_hit; ++at) {
    SCOPED_TRACE("error at call " + std::to_string(at));
    (void)prepare(old_);
    file_faults = {.kind = FileFaults::Kind::error, .at = at, .error_number = EIO};
    bool failed = false;
    try {
      (void)prepare(new_);
    } catch (const std::exception&) {
      failed = true;
    }
    was_hit = file_faults.calls > at;
    file_faults = {};
    const std::string text = text_in_output();
    ASSERT_TRUE(text == kNew || (failed && text == kOld)) << text;
  }
}

}  // namespace
}  // namespace switchyard::data
