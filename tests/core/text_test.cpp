#include "switchyard/core/text.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

const std::vector<std::string> kNames = {"router", "every", "layers", "learning_rate", "p", "k"};

TEST(NearestName, FindsTypingMistakes) {
  EXPECT_EQ(nearest_name("routr", kNames), "router");
  EXPECT_EQ(nearest_name("rotuer", kNames), "router");  // neighbours swapped
  EXPECT_EQ(nearest_name("leyers", kNames), "layers");
  EXPECT_EQ(nearest_name("Learning-Rate", kNames), "learning_rate");
  EXPECT_EQ(nearest_name("router", kNames), "router");
}

TEST(NearestName, StaysSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("temperature", kNames), "");
  EXPECT_EQ(nearest_name("q", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name("router", {}), "");
  EXPECT_EQ(nearest_name(std::string(100000, 'r'), kNames), "");
}

TEST(NearestName, PrefersTheCloserThenTheEarlierName) {
  const std::vector<std::string> names = {"steps_a", "steps_b", "steps"};
  EXPECT_EQ(nearest_name("step", names), "steps");
  EXPECT_EQ(nearest_name("steps_c", names), "steps_a");
}

TEST(Printable, EscapesControlCharactersAndKeepsOtherScripts) {
  EXPECT_EQ(printable("tab\t bell\a del\x7f \xC3\xA9"), "tab\\x09 bell\\x07 del\\x7f \xC3\xA9");
}

TEST(Printable, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(printable(std::string(80, 'a')), std::string(80, 'a'));
  EXPECT_EQ(printable(std::string(81, 'a')), std::string(80, 'a') + "...");
  EXPECT_EQ(printable("abc\xE6\x96\x87", 5), "abc...");
}

TEST(Join, PutsTheSeparatorBetweenParts) {
  EXPECT_EQ(join(std::vector<std::string>{"a", "b", "c"}, ", "), "a, b, c");
  EXPECT_EQ(join(std::vector<std::string>{"a"}, ", "), "a");
  EXPECT_EQ(join({}, ", "), "");
}

TEST(AbbreviatedName, InitialsAndBeginningsOfWordsWhenOnlyOneFits) {
  const std::vector<std::string> keys = {"learning_rate", "weight_decay", "warmup_steps",
                                         "sequence_length"};
  EXPECT_EQ(abbreviated_name("lr", keys), "learning_rate");
  EXPECT_EQ(abbreviated_name("learn-rate", keys), "learning_rate");
  EXPECT_EQ(abbreviated_name("seq_len", keys), "sequence_length");
  EXPECT_EQ(abbreviated_name("w", keys), "");
  EXPECT_EQ(abbreviated_name("we", keys), "weight_decay");
  const std::vector<std::string> twice = {"max_steps", "max_size"};
  EXPECT_EQ(abbreviated_name("ms", twice), "") << "either could be meant";
}

TEST(ShellQuoted, OneWordWhateverIsInIt) {
  EXPECT_EQ(shell_quoted("runs/a-1.txt"), "runs/a-1.txt");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("a b"), "'a b'");
  EXPECT_EQ(shell_quoted("it's; $(x)"), R"('it'\''s; $(x)')");
  EXPECT_EQ(shell_quoted("~/x"), "'~/x'");
}

}  // namespace
}  // namespace switchyard
