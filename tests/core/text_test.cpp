#include "switchyard/core/text.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

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

TEST(Printable, BytesThatAreNoUtf8AndTerminalsControlsAreEscaped) {
  EXPECT_EQ(printable("a\xff\xfe b"), "a\\xff\\xfe b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m red"),
            "\\xc2\\x9b31m red");  // CSI in eight bits
  EXPECT_EQ(printable("cut \xe6\x96"), "cut \\xe6\\x96");
  EXPECT_EQ(printable_line(std::string(500, 'a') + "\n"), std::string(500, 'a') + "\\x0a");
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
  EXPECT_EQ(abbreviated_name("LR", keys), "learning_rate");
  EXPECT_EQ(abbreviated_name("w", keys), "");
  EXPECT_EQ(abbreviated_name("we", keys), "weight_decay");
  const std::vector<std::string> twice = {"max_steps", "max_size"};
  EXPECT_EQ(abbreviated_name("ms", twice), "") << "either could be meant";
  const std::vector<std::string> list{"learning_rates", "eps", "learning_rate"};
  EXPECT_EQ(abbreviated_name("lr", list), "learning_rate") << "one before several";
}

TEST(ShellQuoted, OneWordWhateverIsInIt) {
  EXPECT_EQ(shell_quoted("runs/a-1.txt"), "runs/a-1.txt");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("a b"), "'a b'");
  EXPECT_EQ(shell_quoted("it's; $(x)"), R"('it'\''s; $(x)')");
  EXPECT_EQ(shell_quoted("~/x"), "'~/x'");
  EXPECT_EQ(shell_quoted("it's\na\\b\xff"), R"($'it\'s\012a\\b\377')");
}

// The form that is shown is what a shell reads back.
TEST(ShellQuoted, AShellReadsTheSameBytes) {
  for (const std::string& path :
       {std::string("a b"), std::string("it's"), std::string("-x"), std::string("n\nl"),
        std::string("\xff\xfe"), std::string("$(x)"), std::string("\\'\t9")}) {
    const std::string command = "bash -c " + shell_quoted("printf %s " + shell_path(path));
    FILE* pipe = popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string read(100, '\0');
    read.resize(fread(read.data(), 1, read.size(), pipe));
    EXPECT_EQ(pclose(pipe), 0);
    EXPECT_EQ(read, path == "-x" ? "./-x" : path);
  }
}

TEST(Counted, OneIsNotMany) {
  EXPECT_EQ(counted(1, "step"), "1 step");
  EXPECT_EQ(counted(0, "step"), "0 steps");
  EXPECT_EQ(counted(2, "training window"), "2 training windows");
  EXPECT_EQ(plural(1, "token"), "token");
}

TEST(Split, GivesEveryPartEmptyOnesToo) {
  using Parts = std::vector<std::string_view>;
  EXPECT_EQ(split("a,bc,d", ","), (Parts{"a", "bc", "d"}));
  EXPECT_EQ(split("max_size-of", "_-"), (Parts{"max", "size", "of"}));
  EXPECT_EQ(split("alone", ","), Parts{"alone"});
  EXPECT_EQ(split(",a,,", ","), (Parts{"", "a", "", ""}));
  EXPECT_EQ(split("", ","), Parts{""});
}

}  // namespace
}  // namespace switchyard
