#include "switchyard/format/jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/damage.h"
#include "switchyard/core/error.h"
#include "switchyard/format/json.h"

namespace switchyard::format {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::vector<std::string> lines_of(std::string_view text) {
  LineReader reader(text, "x", 1000);
  std::vector<std::string> lines;
  while (const auto line = reader.next()) {
    lines.push_back(std::to_string(line->number) + "@" + std::to_string(line->offset) + ":" +
                    std::string(line->text));
  }
  return lines;
}

std::string text_of(const std::string& line) {
  return text_field({line, 7, 0}, "text", "corpus.jsonl");
}

TEST(LineReader, LinesEndAtNewlinesWithOrWithoutACarriageReturn) {
  EXPECT_THAT(lines_of("a\r\nb\n\nlast"), ElementsAre("1@0:a", "2@3:b", "3@5:", "4@6:last"));
  EXPECT_THAT(lines_of("only\n"), ElementsAre("1@0:only"));
  EXPECT_THAT(lines_of(""), ElementsAre());
}

TEST(LineReader, ALineAboveTheLimitIsRefusedWithItsPlace) {
  LineReader reader("ok\ntoo long\n", "corpus.jsonl", 5);
  EXPECT_TRUE(reader.next().has_value());
  EXPECT_THAT([&] { (void)reader.next(); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("corpus.jsonl:2"), HasSubstr("offset 3"))));
}

TEST(TextField, TakesTheTopLevelFieldAndIgnoresTheRest) {
  EXPECT_EQ(text_of(R"({"id": 1, "meta": {"text": "inner"}, "text": "outer", "l": ["text"]})"),
            "outer");
  EXPECT_EQ(text_of(R"({"text": "line\nbreak \"quoted\" \u00e9 \ud83d\ude00 \u0000"})"),
            std::string("line\nbreak \"quoted\" \xC3\xA9 \xF0\x9F\x98\x80 \0", 29));
  EXPECT_EQ(text_of(R"({"text": ""})"), "");
}

TEST(TextField, ErrorsSayWhereAndWhat) {
  EXPECT_THAT([] { (void)text_of(R"({"title": "a", "content": "b"})"); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("corpus.jsonl:7"),
                                             HasSubstr("no field "
                                                       "'text'"),
                                             HasSubstr("title, content"))));
  EXPECT_THAT([] { (void)text_of(R"({"text": 3})"); },
              ThrowsMessage<DataError>(HasSubstr("is a number, expected a string")));
  EXPECT_THAT([] { (void)text_of(R"({"text": ["a"]})"); },
              ThrowsMessage<DataError>(HasSubstr("is a list, expected a string")));
  EXPECT_THAT([] { (void)text_of(R"(["text"])"); },
              ThrowsMessage<DataError>(HasSubstr("expected a JSON object")));
  EXPECT_THAT([] { (void)text_of(R"({"text": "a" "b"})"); },
              ThrowsMessage<DataError>(HasSubstr("corpus.jsonl:7:1")));
  EXPECT_THROW((void)text_of(R"({"text": "a", "text": "b"})"), DataError);
  EXPECT_THROW((void)text_of(R"({"text": "\ud83d alone"})"), DataError);
  EXPECT_THROW((void)text_of("{\"text\": \"\xFF\"}"), DataError);
}

TEST(TextField, ErrorsAboutVeryLongLinesStayShort) {
  const std::string large(std::size_t{50} << 20U, 'x');
  for (const std::string& line : {"{\"" + large + "\": 1}", "{\"text\": \"" + large + "\\q\"}"}) {
    try {
      (void)text_of(line);
      ADD_FAILURE() << "accepted";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("corpus.jsonl:7"));
      EXPECT_LT(std::string_view(error.what()).size(), 500U);
    }
  }
}

TEST(TextField, DeepNestingIsRefused) {
  const std::string deep(200000, '[');
  EXPECT_THAT([&] { (void)text_of(R"({"a": )" + deep); },
              ThrowsMessage<DataError>(HasSubstr("nested deeper")));
}

TEST(TextField, DamagedLinesAreRefusedOrReadButNeverCrash) {
  const std::string line = R"({"id": [1, {"x": null}], "text": "\u00e9 a\n", "n": -1.5e3})";
  const testing::Reader read = [](std::span<const std::byte> bytes) {
    (void)text_field({{reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 1, 0}, "text",
                     "x");
  };
  const auto cut = testing::read_every_truncation(line, read);
  EXPECT_EQ(cut.refused, cut.tried);
  const auto flipped = testing::read_byte_flips(line, read);
  EXPECT_GT(flipped.refused, 0U);
  EXPECT_LT(flipped.refused, flipped.tried) << "a changed letter inside the text is no error";
}

}  // namespace
}  // namespace switchyard::format
