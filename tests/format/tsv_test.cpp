#include "switchyard/format/tsv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "support/damage.h"
#include "switchyard/core/error.h"

namespace switchyard::format {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr auto kFirstLine = TsvReader::Header::kFirstLine;
constexpr auto kNone = TsvReader::Header::kNone;

std::vector<std::vector<std::string_view>> rows_of(std::string_view text,
                                                   TsvReader::Header header) {
  TsvReader reader(text, "dev.tsv", header);
  std::vector<std::vector<std::string_view>> rows;
  while (auto row = reader.next()) rows.push_back(row->field);
  return rows;
}

TEST(Tsv, FieldsAreCutAtTabsAndQuotesAreText) {
  EXPECT_THAT(rows_of("id\tsentence\n0\t\"an open quote\n1\t\n", kFirstLine),
              ElementsAre(ElementsAre("0", "\"an open quote"), ElementsAre("1", "")));
  EXPECT_THAT(rows_of("gj04\t1\t\tOne row.\ngj04\t0\t*\tNo line end", kNone),
              ElementsAre(ElementsAre("gj04", "1", "", "One row."),
                          ElementsAre("gj04", "0", "*", "No line end")));
  EXPECT_THAT(rows_of("", kNone), ElementsAre());
}

TEST(Tsv, AByteOrderMarkAndCarriageReturnsBelongToNoField) {
  EXPECT_THAT(rows_of("\xEF\xBB\xBFQuality\t#1 ID\r\n1\t702876\r\n", kFirstLine),
              ElementsAre(ElementsAre("1", "702876")));
  EXPECT_EQ(TsvReader("\xEF\xBB\xBFQuality\t#1 ID\n", "x", kFirstLine).column("Quality"), 0U);
}

TEST(Tsv, ColumnsAreFoundByNameAndAMissingOneListsThem) {
  const TsvReader reader("index\tsentence1\tlabel\n", "train.tsv", kFirstLine);
  EXPECT_EQ(reader.column("label"), 2U);
  EXPECT_THAT([&] { (void)reader.column("gold"); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("train.tsv:1: no column 'gold'"),
                                             HasSubstr("index, sentence1"))));
}

TEST(Tsv, AnUnevenRowIsRefusedWithItsLineAndReadingMayGoOn) {
  TsvReader reader("a\tb\n1\t2\n1\n\n1\t2\t3\nx\ty\n", "train.tsv", kFirstLine);
  EXPECT_TRUE(reader.next().has_value());
  for (const char* message : {"train.tsv:3: 1 field between tabs, expected 2",
                              "train.tsv:4: 1 field between tabs, expected 2",
                              "train.tsv:5: 3 fields between tabs, expected 2"}) {
    EXPECT_THAT([&] { (void)reader.next(); }, ThrowsMessage<DataError>(HasSubstr(message)));
  }
  const auto last = reader.next();
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->number, 6U);
  EXPECT_THAT(last->field, ElementsAre("x", "y"));
  EXPECT_FALSE(reader.next().has_value());
}

TEST(Tsv, HeadersThatNameNoColumnsAreRefused) {
  const auto refused = [](std::string_view text, const char* message) {
    EXPECT_THAT([&] { TsvReader(text, "x.tsv", kFirstLine); },
                ThrowsMessage<DataError>(HasSubstr(message)));
  };
  refused("", "x.tsv: empty");
  refused("a\t\tb\n", "x.tsv:1: column 2 has no name");
  refused("a\tb\ta\n", "two columns are named 'a'");
  refused(std::string(5000, '\t'), "5001 columns");
}

TEST(Tsv, TextThatIsNotUtf8IsRefusedWithLineAndOffset) {
  EXPECT_THAT([] { TsvReader("a\tb\n1\tcaf\xE9\n", "x.tsv", kFirstLine); },
              ThrowsMessage<DataError>(HasSubstr("x.tsv:2: at byte 9: not valid UTF-8")));
}

TEST(Tsv, DamagedFilesAreRefusedOrReadButNeverCrash) {
  const std::string text = "index\tsentence\tlabel\n0\tcaf\xC3\xA9 \"x\t1\n1\ty\t0\n";
  const testing::Reader read = [](std::span<const std::byte> bytes) {
    (void)rows_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, kFirstLine);
  };
  EXPECT_GT(testing::read_every_truncation(text, read).refused, 10U);
  const auto flipped = testing::read_byte_flips(text, read);
  EXPECT_GT(flipped.refused, 0U);
  EXPECT_LT(flipped.refused, flipped.tried) << "a changed letter is no error";
}

}  // namespace
}  // namespace switchyard::format
