#include "switchyard/inference/printable.h"

#include <gtest/gtest.h>

namespace switchyard::inference {
namespace {

TEST(PrintableStream, HoldsBackAnUnfinishedCharacter) {
  PrintableStream stream;
  EXPECT_EQ(stream.push("a\xE2\x82"), "a");
  EXPECT_EQ(stream.push("\xAC"), "\u20AC");
  EXPECT_EQ(stream.push("b"), "b");
  EXPECT_EQ(stream.finish(), "");
}

TEST(PrintableStream, ReplacesBytesThatAreNoCharacter) {
  PrintableStream stream;
  EXPECT_EQ(stream.push("\xE2\x82z"), "\uFFFD\uFFFDz");
  EXPECT_EQ(stream.push("\xFFq"), "\uFFFDq");
  EXPECT_EQ(stream.push("\xF0\x9F"), "");
  EXPECT_EQ(stream.finish(), "\uFFFD\uFFFD");
}

TEST(PrintableText, CannotDriveTheTerminal) {
  EXPECT_EQ(printable_text("a\x1b[31m\tb\nc\x7F\xC2\x9B"), "a\uFFFD[31m\tb\nc\uFFFD\uFFFD");
  EXPECT_EQ(printable_text("\u00A0"), "\u00A0");
}

}  // namespace
}  // namespace switchyard::inference
