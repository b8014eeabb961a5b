#include "switchyard/format/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support/damage.h"
#include "switchyard/core/error.h"
#include "switchyard/format/sorted_json.h"

namespace switchyard::format {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::string nested(std::size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(Json, NestingIsBoundedWithoutRecursion) {
  EXPECT_NO_THROW((void)parse_json(nested(kMaxJsonDepth), "x"));
  EXPECT_THAT([] { (void)parse_json(nested(kMaxJsonDepth + 1), "file.json"); },
              ThrowsMessage<DataError>(HasSubstr("file.json: nested deeper than")));
  EXPECT_THROW((void)parse_json(std::string(10'000'000, '['), "x"), DataError);
}

TEST(Json, TextOfAnyBytesIsWrittenAsValidJson) {
  const Json json = {{"path\xff", "a\xfe\n\x1b"}};
  const std::string text = json_text(json);
  EXPECT_EQ(text, "{\"path\xEF\xBF\xBD\":\"a\xEF\xBF\xBD\\n\\u001b\"}");
  EXPECT_EQ(json_text(parse_json(text, "x")), text);
  EXPECT_EQ(json_text(Json{{"a", 1}}, 2), "{\n  \"a\": 1\n}");
  EXPECT_EQ(json_text(SortedJson{{"b", "\xff"}, {"a", 1}}), "{\"a\":1,\"b\":\"\xEF\xBF\xBD\"}");
}

TEST(Json, ARepeatedKeyIsRefusedButTheSameKeyInAnotherObjectIsNot) {
  EXPECT_THAT([] { (void)parse_json(R"({"a": {"b": 1, "b": 2}})", "x"); },
              ThrowsMessage<DataError>(HasSubstr("'b' appears twice")));
  EXPECT_NO_THROW((void)parse_json(R"({"a": {"b": 1}, "b": {"a": 2}})", "x"));
}

TEST(Json, MembersOfOneObjectAreBoundedUnlessTheyAreSorted) {
  const auto object_of = [](std::size_t members) {
    std::string text = "{";
    for (std::size_t i = 0; i < members; ++i) {
      text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
    }
    return text + "}";
  };
  EXPECT_EQ(parse_json(object_of(kMaxJsonMembers), "x").size(), kMaxJsonMembers);
  EXPECT_THAT([&] { (void)parse_json(object_of(kMaxJsonMembers + 1), "x"); },
              ThrowsMessage<DataError>(HasSubstr("more than 10000 members")));
  EXPECT_EQ(parse_sorted_json(object_of(100'000), "x").size(), 100'000U);
}

TEST(Json, ValuesAreBoundedSoThatAFileCannotTakeManyTimesItsSize) {
  std::string text = "[";
  for (std::size_t i = 0; i < kMaxJsonValues; ++i) text += i == 0 ? "0" : ",0";
  text += "]";
  EXPECT_THAT([&] { (void)parse_sorted_json(text, "big.json"); },
              ThrowsMessage<DataError>(HasSubstr("big.json: more than 2000000 values")));
}

TEST(Json, ErrorsAboutLongOrOddTextStayShortAndPrintable) {
  for (const std::string& text :
       {"{\"" + std::string(100'000, 'k') + "\": 1, \"" + std::string(100'000, 'k') + "\": 2}",
        "\"" + std::string(100'000, 'x') + "\\q\"",
        std::string("{\"a\\u001bb\":1,\"a\\u001bb\":1}")}) {
    try {
      (void)parse_json(text, "x.json");
      ADD_FAILURE() << "accepted";
    } catch (const DataError& error) {
      const std::string_view message = error.what();
      EXPECT_LT(message.size(), 400U);
      EXPECT_EQ(message.find('\x1b'), std::string_view::npos);
    }
  }
}

TEST(Json, SyntaxErrorsNameTheFileAndThePlace) {
  EXPECT_THAT(
      [] { (void)parse_json("{\"a\": 1,\n oops}", "manifest.json"); },
      ThrowsMessage<DataError>(::testing::AllOf(HasSubstr("manifest.json"), HasSubstr("line 2"))));
}

TEST(Json, TypedAccessNamesTheKeyAndWhatWasExpected) {
  const Json value =
      parse_json(R"({"text": "t", "number": 1.5, "large": 18446744073709551615, "n": -3})", "x");
  EXPECT_EQ(json_string(value, "text", "x"), "t");
  EXPECT_EQ(json_integer(value, "n", "x"), -3);
  EXPECT_EQ(json_number(value, "number", "x"), 1.5);
  EXPECT_THAT([&] { (void)json_integer(value, "number", "x"); },
              ThrowsMessage<DataError>(HasSubstr("x: 'number' is number, expected an integer")));
  EXPECT_THROW((void)json_integer(value, "large", "x"), DataError);
  EXPECT_THROW((void)json_string(value, "n", "x"), DataError);
  EXPECT_THROW((void)json_bool(value, "n", "x"), DataError);
  EXPECT_THROW((void)json_array(value, "n", "x"), DataError);
  EXPECT_THAT([&] { (void)json_string(value, "absent", "x"); },
              ThrowsMessage<DataError>(HasSubstr("x: 'absent' is missing")));
  EXPECT_THROW((void)json_member(value["n"], "a", "x"), DataError);
}

TEST(Json, DamagedTextIsRefusedOrReadButNeverCrashes) {
  const std::string text = R"({"a": [1, -2.5e3, true, null], "b": {"c": "\u00e9\ud83d\ude00"}})";
  const testing::Reader read = [](std::span<const std::byte> bytes) {
    (void)parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "x");
  };
  const auto cut = testing::read_every_truncation(text, read);
  EXPECT_EQ(cut.refused, cut.tried);
  EXPECT_GT(testing::read_byte_flips(text, read).refused, 0U);
}

}  // namespace
}  // namespace switchyard::format
