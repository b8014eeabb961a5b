// A data set that is replaced, and a source that is rewritten, between any two of the files that
// their reader opens. The C library's open() is replaced by the one below wherever it is called.
#include <dlfcn.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdarg>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "data/prepare_fixture.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Called once, before the call to open() with number `before`, counted from 0.
struct Interruption {
  int before = -1;
  std::function<void()> action = {};
  int calls = 0;

  void count() {
    if (!action || calls++ != before) return;
    const std::function<void()> once = std::exchange(action, {});
    once();
  }
};

Interruption interruption;

// Texts of one length: no count tells the data sets apart.
constexpr const char* kOld = "the old text\n";
constexpr const char* kNew = "the new text\n";

class ReplacedWhileRead : public PrepareFixture {
 protected:
  PrepareOptions replacing_by(const std::string& text, const std::string& tokenizer) {
    PrepareOptions what = options({file("text-" + tokenizer + ".txt", text)});
    what.validation = 0.0;
    what.overwrite = true;
    what.num_samples = 0;
    return what;
  }
  static std::string text_of(const PreparedData& data) {
    const format::IndexedDataset& train = data.dataset(Split::kTrain);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(train.num_tokens()));
    train.read(0, data.sidecar().vocab_size, ids);
    return data.tokenizer().decode(ids) + " " + data.sidecar().train.hash;
  }
  std::string text_now() { return text_of(open_prepared(folder_ / "out")); }

  PrepareOptions old_ = replacing_by(kOld, "old");
  PrepareOptions new_ = replacing_by(kNew, "new");
};

}  // namespace
}  // namespace switchyard::data

extern "C" int open(const char* path, int flags, ...) {
  static auto* const real =
      reinterpret_cast<int (*)(const char*, int, ...)>(::dlsym(RTLD_NEXT, "open"));
  switchyard::data::interruption.count();
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return real(path, flags, mode);
}

namespace switchyard::data {
namespace {

TEST_F(ReplacedWhileRead, AtAnyFileTheReaderGetsTheOldOrTheNewDataSet) {
  (void)prepare(new_);
  const std::string whole_new = text_now();
  (void)prepare(old_);
  const std::string whole_old = text_now();
  ASSERT_NE(whole_old, whole_new);
  bool was_interrupted = true;
  int at = 0;
  for (; was_interrupted; ++at) {
    SCOPED_TRACE("replaced before file " + std::to_string(at));
    (void)prepare(old_);
    interruption = {.before = at, .action = [this] { (void)prepare(new_); }};
    const std::string text = text_now();
    was_interrupted = !interruption.action;
    interruption = {};
    EXPECT_TRUE(text == whole_old || text == whole_new) << text;
  }
  EXPECT_GT(at, 6) << "data.json, tokenizer, four token files";
}

// The reader comes when the new files have not got their places, which they then get.
TEST_F(ReplacedWhileRead, FilesThatMoveToTheirPlacesAreFoundThere) {
  const fs::path out = folder_ / "out";
  (void)prepare(new_);
  const std::string whole = text_now();
  const fs::path incoming = out / config::kIncomingFolderName;
  bool was_interrupted = true;
  for (int at = 0; was_interrupted; ++at) {
    SCOPED_TRACE("moved before file " + std::to_string(at));
    fs::create_directory(incoming);
    for (const std::string_view name : config::kDataSetFiles) {
      if (fs::exists(out / name)) fs::rename(out / name, incoming / name);
    }
    interruption = {.before = at, .action = [&] {
                      for (auto name = config::kDataSetFiles.rbegin();
                           name != config::kDataSetFiles.rend(); ++name) {
                        if (fs::exists(incoming / *name)) fs::rename(incoming / *name, out / *name);
                      }
                      fs::remove(incoming);
                    }};
    EXPECT_EQ(text_now(), whole);
    was_interrupted = !interruption.action;
    if (!was_interrupted) interruption.action();
    interruption = {};
  }
}

TEST_F(ReplacedWhileRead, WhatIsBrokenAndNotReplacedIsSaidAtOnce) {
  (void)prepare(old_);
  fs::remove(folder_ / "out/train.bin");
  EXPECT_THROW((void)open_prepared(folder_ / "out"), DataError);
}

class RewrittenWhileRead : public ReplacedWhileRead {
 protected:
  // Prepares from `text` again and again. Before one more file is opened each time, its file
  // becomes `later`, in place and with as many bytes: neither the size nor an open file tells.
  // `check` hears whose hash each data set records; the others are refused with what comes back.
  std::vector<std::string> refusals(const PrepareOptions& what, const std::string& text,
                                    const std::string& later,
                                    const std::function<void(const std::string& recorded)>& check) {
    EXPECT_EQ(text.size(), later.size());
    std::vector<std::string> messages;
    bool was_interrupted = true;
    for (int at = 0; was_interrupted; ++at) {
      SCOPED_TRACE("rewritten before file " + std::to_string(at));
      const std::string& source = what.inputs.front();
      write_file_atomically(source, text);
      interruption = {.before = at, .action = [&] {
                        std::fstream(source, std::ios::in | std::ios::out) << later;
                      }};
      std::string hash;
      try {
        hash = prepare(what).sidecar.sources.at(0).hash;
      } catch (const DataError& error) {
        messages.emplace_back(error.what());
      }
      was_interrupted = !interruption.action;
      interruption = {};
      if (hash.empty()) continue;
      EXPECT_TRUE(hash == to_hex(xxh3(text)) || hash == to_hex(xxh3(later))) << hash;
      check(hash == to_hex(xxh3(text)) ? text : later);
    }
    return messages;
  }
};

TEST_F(RewrittenWhileRead, TheTextIsThatOfTheHashOrRefused) {
  const auto messages = refusals(old_, kOld, kNew, [this](const std::string& recorded) {
    EXPECT_TRUE(text_now().starts_with(recorded)) << recorded;
  });
  EXPECT_THAT(messages, AllOf(Not(IsEmpty()), Each(HasSubstr("changed while it was read"))));
}

TEST_F(RewrittenWhileRead, WhatIsNoTextAnyMoreIsRefused) {
  const auto messages = refusals(old_, kOld, "the \xFF\xFE\xFD text\n",
                                 [](const std::string& recorded) { EXPECT_EQ(recorded, kOld); });
  EXPECT_THAT(
      messages,
      AllOf(Contains(HasSubstr("changed while it was read")),
            Each(AnyOf(HasSubstr("changed while it was read"), HasSubstr("is not valid UTF-8")))));
}

TEST_F(RewrittenWhileRead, MoreDocumentsThanBeforeAreRefused) {
  const std::string three = "first|second|third|\n";
  PrepareOptions what = old_;
  what.document_separator = "|";
  what.split = "document";
  what.validation = 0.4;
  const auto messages =
      refusals(what, three, "1|2|3|4|5|6|7|8|9|10", [&](const std::string& recorded) {
        const Sidecar sidecar = open_prepared(folder_ / "out").sidecar();
        EXPECT_EQ(sidecar.train.documents + sidecar.validation.documents,
                  recorded == three ? 3 : 10);
      });
  EXPECT_THAT(messages, AllOf(Not(IsEmpty()), Each(HasSubstr("changed while it was read"))));
}

TEST_F(RewrittenWhileRead, ARecordThatHasBecomeABadOneIsNotBlamedOnTheRecord) {
  PrepareOptions what = old_;
  what.format = "jsonl";
  const auto messages =
      refusals(what, "{\"text\": \"a\"}\n", "{\"text\": 12 }\n", [](const std::string&) {});
  ASSERT_THAT(messages, Not(IsEmpty()));
  EXPECT_THAT(messages.front(), HasSubstr(":1: "));
  EXPECT_THAT(messages.back(), HasSubstr("changed while it was read"));
}

}  // namespace
}  // namespace switchyard::data
