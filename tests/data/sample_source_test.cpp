#include "switchyard/data/sample_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "data/small_text.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Permutation, EveryItemComesExactlyOnce) {
  for (const std::int64_t size : {1, 2, 3, 7, 64, 65, 1000, 4097}) {
    const Permutation order(size, 42);
    std::vector<std::int64_t> items;
    for (std::int64_t i = 0; i < size; ++i) items.push_back(order(i));
    std::sort(items.begin(), items.end());
    std::vector<std::int64_t> expected(static_cast<std::size_t>(size));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(items, expected) << size;
  }
}

TEST(Permutation, TheOrderLooksRandomAndDependsOnTheKey) {
  const std::int64_t size = 5000;
  const Permutation a(size, 1);
  const Permutation b(size, 2);
  std::int64_t fixed = 0;
  std::int64_t equal = 0;
  std::int64_t ascents = 0;
  double distance = 0.0;
  for (std::int64_t i = 0; i < size; ++i) {
    fixed += a(i) == i ? 1 : 0;
    equal += a(i) == b(i) ? 1 : 0;
    if (i > 0) ascents += a(i) > a(i - 1) ? 1 : 0;
    distance += static_cast<double>(std::abs(a(i) - i)) / static_cast<double>(size);
  }
  EXPECT_LT(fixed, 10);
  EXPECT_LT(equal, 10);
  EXPECT_NEAR(static_cast<double>(ascents) / size, 0.5, 0.03);
  EXPECT_NEAR(distance / size, 1.0 / 3.0, 0.02) << "the mean of |u - v| of two uniform draws";
}

TEST(Permutation, AVeryLargeOneIsComputedWithoutStoringIt) {
  const Permutation order(std::int64_t{1} << 60, 9);
  EXPECT_NE(order(0), order(1));
  EXPECT_LT(order(12345), std::int64_t{1} << 60);
}

class SampleSourceTest : public ::testing::Test {
 protected:
  // Byte tokens: the ids are the text.
  fs::path prepared(const std::string& name, const std::vector<std::string>& documents,
                    double validation = 0.0, const std::string& tokenizer = "bytes") {
    PrepareOptions options;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      const fs::path path = folder_ / (name + std::to_string(i) + ".txt");
      write_file_atomically(path, documents[i]);
      options.inputs.push_back(path.string());
    }
    options.tokenizer = tokenizer;
    options.output = folder_ / name;
    options.validation = validation;
    options.split = "tail";
    (void)prepare(options);
    return options.output;
  }
  static config::DataConfig config_of(const fs::path& path, std::int64_t sequence_length) {
    config::DataConfig config;
    config.path = path.string();
    config.sequence_length = sequence_length;
    return config;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(SampleSourceTest, WindowsOverlapByOneTokenAndCoverTheData) {
  // 10 letters and the separator: 11 tokens, (11 - 1) / 5 = 2 windows of 5.
  const SampleSource source(config_of(prepared("d", {"abcdefghij"}), 5), 1);
  ASSERT_EQ(source.num_samples_per_epoch(), 2);
  std::map<std::uint64_t, Sample> windows;
  for (std::int64_t i = 0; i < 2; ++i) windows[source.id_of(i)] = source.get(i);
  EXPECT_THAT(windows.at(0).token, ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
  EXPECT_THAT(windows.at(5).token, ElementsAre('f', 'g', 'h', 'i', 'j', 256));
}

TEST_F(SampleSourceTest, DocumentStartsAreOffsetsInsideTheWindow) {
  // a b # c # d e f # : documents begin at 0, 3, 5; 9 tokens.
  const SampleSource source(config_of(prepared("d", {"ab", "c", "def"}), 4), 1);
  ASSERT_EQ(source.num_samples_per_epoch(), 2);
  for (std::int64_t i = 0; i < 2; ++i) {
    if (source.id_of(i) == 0) {  // a b # c #
      EXPECT_THAT(source.get(i).document_start, ElementsAre(0, 3));
    } else {  // # d e f #
      EXPECT_THAT(source.get(i).document_start, ElementsAre(1));
    }
  }
}

TEST_F(SampleSourceTest, ADocumentThatBeginsWithTheLastLabelIsAStartToo) {
  // a b # c d #, a window of 3 and its last label: a b # c
  const SampleSource source(config_of(prepared("d", {"ab", "cd"}), 3), 1);
  EXPECT_THAT(source.get(0).token, ElementsAre('a', 'b', 256, 'c'));
  EXPECT_THAT(source.get(0).document_start, ElementsAre(0, 3));
}

TEST_F(SampleSourceTest, AnEpochHasEveryWindowOnceAndTheNextAnotherOrder) {
  const SampleSource source(config_of(prepared("d", {testing::small_text(3000)}), 16), 3);
  const std::int64_t n = source.num_samples_per_epoch();
  ASSERT_GT(n, 100);
  std::vector<std::uint64_t> first;
  std::vector<std::uint64_t> second;
  for (std::int64_t i = 0; i < n; ++i) first.push_back(source.id_of(i));
  for (std::int64_t i = n; i < 2 * n; ++i) second.push_back(source.id_of(i));
  EXPECT_NE(first, second);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), static_cast<std::size_t>(n));
  EXPECT_EQ(std::set(second.begin(), second.end()).size(), static_cast<std::size_t>(n));
}

TEST_F(SampleSourceTest, LaterEpochsCutTheTextElsewhereAndLeaveNoHole) {
  constexpr std::int64_t kLength = 16;
  const SampleSource source(config_of(prepared("d", {testing::small_text(1000)}), kLength), 3);
  const std::int64_t n = source.num_samples_per_epoch();
  std::set<std::int64_t> shifts;
  for (std::int64_t epoch = 0; epoch < 40; ++epoch) {
    std::vector<std::int64_t> begin;
    for (std::int64_t i = 0; i < n; ++i) {
      begin.push_back(static_cast<std::int64_t>(source.id_of(epoch * n + i)));
      ASSERT_EQ(source.get(epoch * n + i).token.size(), kLength + 1U);
    }
    std::sort(begin.begin(), begin.end());
    for (std::size_t i = 1; i < begin.size(); ++i) {
      ASSERT_GT(begin[i] - begin[i - 1], 0) << "a window comes twice in epoch " << epoch;
      ASSERT_LE(begin[i] - begin[i - 1], kLength) << "a hole in epoch " << epoch;
    }
    ASSERT_LT(begin.front(), kLength);
    ASSERT_LT(1001 - (begin.back() + kLength + 1), 2 * kLength) << "of 1000 bytes and a separator";
    if (epoch == 0) {
      ASSERT_EQ(begin[1], kLength);
    }
    shifts.insert(begin[1] % kLength);
  }
  EXPECT_GT(shifts.size(), kLength / 2U);
}

TEST_F(SampleSourceTest, LaterEpochsOfWindowsThatFillTheDataStayInside) {
  // 96 bytes and a separator: the last window and its label end with the data.
  const SampleSource source(config_of(prepared("d", {testing::small_text(200).substr(0, 96)}), 16),
                            3);
  ASSERT_EQ(source.num_samples_per_epoch(), 6);
  std::uint64_t last = 0;
  for (std::int64_t i = 0; i < 240; ++i) {
    ASSERT_EQ(source.get(i).token.size(), 17U);
    last = std::max(last, source.id_of(i));
  }
  EXPECT_EQ(last, 80U);
}

TEST_F(SampleSourceTest, TheOrderIsAPureFunctionOfSeedAndIndex) {
  const auto config = config_of(prepared("d", {testing::small_text(3000)}), 16);
  const SampleSource a(config, 3);
  const SampleSource b(config, 3);
  const SampleSource other(config, 4);
  bool differs = false;
  for (const std::int64_t i : {500, 7, 0, 7, 499}) {  // in any order, again and again
    EXPECT_EQ(a.get(i).token, b.get(i).token);
    differs = differs || a.id_of(i) != other.id_of(i);
  }
  EXPECT_TRUE(differs);
  EXPECT_EQ(a.fingerprint(), b.fingerprint());
  EXPECT_NE(a.fingerprint(), other.fingerprint());
}

TEST_F(SampleSourceTest, ABlendKeepsItsSharesAfterEverySample) {
  config::DataConfig config;
  config.blend = {{prepared("a", {std::string(300, 'a')}).string(), 3.0},
                  {prepared("b", {std::string(5000, 'b')}).string(), 1.0},
                  {prepared("c", {std::string(1000, 'c')}).string(), 0.5}};
  config.sequence_length = 10;
  const SampleSource source(config, 1);
  EXPECT_EQ(source.num_samples_per_epoch(), 30 + 500 + 100);
  const std::vector<double> share{3.0 / 4.5, 1.0 / 4.5, 0.5 / 4.5};
  std::vector<double> count(3, 0.0);
  std::set<std::uint64_t> first_epoch_of_a;
  for (std::int64_t i = 0; i < 3000; ++i) {
    const std::uint64_t id = source.id_of(i);
    const std::size_t set = id >> 48U;
    ASSERT_EQ(source.get(i).token[0], "abc"[set]);
    if (set == 0 && count[0] < 30) first_epoch_of_a.insert(id);
    count[set] += 1.0;
    for (std::size_t s = 0; s < 3; ++s) {
      ASSERT_NEAR(count[s], share[s] * static_cast<double>(i + 1), 1.5) << "after sample " << i;
    }
  }
  EXPECT_EQ(first_epoch_of_a.size(), 30U) << "a small set is used up before it repeats";
}

TEST_F(SampleSourceTest, EpochsOfABlendedSetAreComplete) {
  config::DataConfig config;
  config.blend = {{prepared("a", {std::string(300, 'a')}).string(), 0.7},
                  {prepared("b", {std::string(500, 'b')}).string(), 0.3}};
  config.sequence_length = 10;
  const SampleSource source(config, 1);
  std::vector<std::uint64_t> of_a;
  for (std::int64_t i = 0; i < 66000; ++i) {
    const std::uint64_t id = source.id_of(i);
    if (id >> 48U == 0) of_a.push_back(id);
  }
  for (std::size_t begin = 0; begin + 30 <= of_a.size(); begin += 30) {
    const auto at = of_a.begin() + static_cast<std::ptrdiff_t>(begin);
    ASSERT_EQ(std::set(at, at + 30).size(), 30U) << begin;
  }
}

TEST_F(SampleSourceTest, SetsOfABlendAreShuffledApart) {
  config::DataConfig config;
  config.blend = {{prepared("a", {std::string(1000, 'a')}).string(), 1.0},
                  {prepared("b", {std::string(1000, 'b')}).string(), 1.0}};
  config.sequence_length = 10;
  const SampleSource source(config, 1);
  std::vector<std::vector<std::uint64_t>> begins(2);
  for (std::int64_t i = 0; i < 200; ++i) {
    const std::uint64_t id = source.id_of(i);
    begins[id >> 48U].push_back(id & 0xFFFFFFFFU);
  }
  ASSERT_EQ(begins[0].size(), begins[1].size());
  EXPECT_NE(begins[0], begins[1]);
}

TEST_F(SampleSourceTest, TheFingerprintTellsOtherTrainingText) {
  const SampleSource a(config_of(prepared("a", {"some text"}), 4), 1);
  const SampleSource again(config_of(prepared("again", {"some text"}), 4), 1);
  const SampleSource other(config_of(prepared("other", {"some TEXT"}), 4), 1);
  EXPECT_EQ(a.fingerprint(), again.fingerprint());
  EXPECT_NE(a.fingerprint(), other.fingerprint());
}

TEST_F(SampleSourceTest, OneFolderTwiceInABlendIsAnErrorWhateverItIsCalled) {
  const fs::path a = prepared("a", {std::string(300, 'a')});
  fs::create_directory_symlink("a", folder_ / "link");
  const std::vector<std::string> spellings{a.string(), a.string() + "/", (folder_ / "./a").string(),
                                           (folder_ / "link").string()};
  for (const std::string& again : spellings) {
    config::DataConfig config;
    config.blend = {{a.string(), 1.0},
                    {prepared("b" + std::to_string(again.size()), {"other text"}).string(), 1.0},
                    {again, 1.0}};
    config.sequence_length = 4;
    EXPECT_THAT([&] { SampleSource(config, 1); },
                ThrowsMessage<UsageError>(HasSubstr("one folder")))
        << again;
  }
}

TEST_F(SampleSourceTest, TheValidationSplitIsReadInFileOrder) {
  const std::string text = testing::small_text(4000);
  const auto config = config_of(prepared("d", {text}, 0.5), 8);
  const SampleSource source = SampleSource::validation(config);
  ASSERT_GT(source.num_samples_per_epoch(), 10);
  std::string read;
  for (std::int64_t i = 0; i < source.num_samples_per_epoch(); ++i) {
    const Sample sample = source.get(i);
    read += source.tokenizer().decode(std::span(sample.token).first(8));
  }
  EXPECT_THAT(text, HasSubstr(read));
  EXPECT_THROW((void)source.get(source.num_samples_per_epoch()), InternalError);
}

TEST_F(SampleSourceTest, AnEmptyValidationSplitHasNoSamples) {
  const auto config = config_of(prepared("d", {"some training text"}), 4);
  EXPECT_EQ(SampleSource::validation(config).num_samples_per_epoch(), 0);
}

TEST_F(SampleSourceTest, TooLittleTextForOneWindowIsRefused) {
  const fs::path path = prepared("d", {"short"});
  EXPECT_NO_THROW(SampleSource(config_of(path, 5), 1));
  EXPECT_THAT([&] { SampleSource(config_of(path, 6), 1); },
              ThrowsMessage<DataError>(HasSubstr("6 tokens, too few")));
}

TEST_F(SampleSourceTest, SetsOfDifferentTokenizersAreRefusedInABlend) {
  config::DataConfig config;
  config.blend = {{prepared("a", {"first"}).string(), 1.0},
                  {prepared("b", {testing::small_text(9000)}, 0.0, "bpe:400").string(), 1.0}};
  config.sequence_length = 2;
  EXPECT_THAT([&] { SampleSource(config, 1); },
              ThrowsMessage<UsageError>(HasSubstr("different tokenizers")));
}

TEST_F(SampleSourceTest, ATokenOutsideTheVocabularyIsRefusedWithFileAndOffset) {
  const fs::path path = prepared("d", {"abcdefghij"});
  std::string bin = read_file(path / "train.bin");
  bin[5] = '\x7F';  // token 2 becomes 0x7F63
  write_file_atomically(path / "train.bin", bin);
  const SampleSource source(config_of(path, 10), 1);
  EXPECT_THAT([&] { (void)source.get(0); }, ThrowsMessage<DataError>(::testing::AllOf(
                                                HasSubstr("train.bin"), HasSubstr("at byte 4"))));
}

TEST_F(SampleSourceTest, MissingOrSenselessSettingsAreUsageErrors) {
  const std::string path = prepared("d", {"some text"}).string();
  EXPECT_THROW(SampleSource(config::DataConfig{}, 1), UsageError);
  EXPECT_THROW(SampleSource(config_of(path, 0), 1), UsageError);
  config::DataConfig config = config_of(path, 2);
  config.blend = {{path, -1.0}};
  EXPECT_THROW(SampleSource(config, 1), UsageError);
  EXPECT_THROW(SampleSource(config_of(folder_ / "absent", 2), 1), DataError);
}

TEST_F(SampleSourceTest, TheFirstValidationWindowsOfABlendAreOfAllItsSets) {
  config::DataConfig config;
  config.sequence_length = 8;
  const std::vector<std::size_t> lengths = {600, 6000, 40, 2000};  // of the text, half held back
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const fs::path path =
        prepared("set" + std::to_string(i), {testing::small_text(lengths[i])}, i == 2 ? 0.0 : 0.5);
    config.blend.push_back({path.string(), i == 0 ? 9.0 : 1.0});  // weights are of training
  }
  const SampleSource source = SampleSource::validation(config);
  const std::vector<std::int64_t> windows = source.num_windows_of_sets();
  ASSERT_EQ(windows[2], 0) << "nothing is held back of it";
  const auto total = static_cast<double>(source.num_samples_per_epoch());
  std::vector<std::int64_t> count(4, 0);
  for (std::int64_t i = 0; i < source.num_samples_per_epoch(); ++i) {
    const std::uint64_t id = source.id_of(i);
    const std::size_t set = id >> 48U;
    EXPECT_EQ(id & 0xFFFFFFFFU, static_cast<std::uint64_t>(8 * count[set])) << "in file order";
    ++count[set];
    for (std::size_t s = 0; s < 4; ++s) {
      const double share = static_cast<double>(windows[s]) / total;
      ASSERT_NEAR(static_cast<double>(count[s]), share * static_cast<double>(i + 1), 1.5) << i;
    }
  }
  EXPECT_EQ(count, windows) << "each once";
}

}  // namespace
}  // namespace switchyard::data
