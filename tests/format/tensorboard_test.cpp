#include "switchyard/format/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "support/tensorboard_reader.h"

namespace switchyard::format {
namespace {

using ::testing::ElementsAre;
using testing::ProtoMessage;
using testing::read_packed_doubles;
using testing::read_proto;
using testing::read_summary;
using testing::read_tfrecords;

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

// The first record of every event file, as TensorFlow writes it, with wall_time 1.0 and step 0.
TEST(TensorBoard, FileVersionEventHasTheDocumentedBytes) {
  EXPECT_EQ(file_version_event(1.0), bytes({0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F}) +
                                         bytes({0x10, 0x00}) + bytes({0x1A, 0x0D}) +
                                         "brain.Event:2");
}

TEST(TensorBoard, SessionStartTellsTheFirstStep) {
  const ProtoMessage event = read_proto(session_start_event(2.5, 1234567890123));
  EXPECT_EQ(event.number(1), 2.5);
  EXPECT_EQ(event.number(2), 1234567890123.0);
  EXPECT_EQ(read_proto(event.text(7)).number(1), 1.0);  // SessionLog.START
}

TEST(TensorBoard, SummaryHoldsScalarsAndHistogramsUnderTheirTags) {
  const ProtoMessage event = read_proto(
      summary_event(3.0, 300, {{"loss", 2.5}, {"lr", 1e-4}, {"nan", std::nan("")}},
                    {{.tag = "k", .bucket_limit = {0.5, 1.5, 3.5}, .count = {0.0, 4.0, 2.0}}}));
  EXPECT_EQ(event.number(1), 3.0);
  EXPECT_EQ(event.number(2), 300.0);
  const testing::SummaryValues values = read_summary(event);
  EXPECT_EQ(values.scalars.at("loss"), 2.5);
  EXPECT_FLOAT_EQ(static_cast<float>(values.scalars.at("lr")), 1e-4F);
  EXPECT_TRUE(std::isnan(values.scalars.at("nan")));
  const ProtoMessage& histogram = values.histograms.at("k");
  EXPECT_EQ(histogram.number(1), 0.5);                                // min
  EXPECT_EQ(histogram.number(2), 3.5);                                // max
  EXPECT_EQ(histogram.number(3), 6.0);                                // num
  EXPECT_EQ(histogram.number(4), 4.0 * 1.0 + 2.0 * 2.5);              // sum
  EXPECT_EQ(histogram.number(5), 4.0 * 1.0 * 1.0 + 2.0 * 2.5 * 2.5);  // sum of squares
  EXPECT_THAT(read_packed_doubles(histogram.text(6)), ElementsAre(0.5, 1.5, 3.5));
  EXPECT_THAT(read_packed_doubles(histogram.text(7)), ElementsAre(0.0, 4.0, 2.0));
}

TEST(TensorBoard, IntegerHistogramHasOneBarPerInteger) {
  const TensorBoardHistogram histogram = integer_histogram("k", {5.0, 7.0});
  EXPECT_THAT(histogram.bucket_limit, ElementsAre(-0.5, 0.5, 1.5));
  EXPECT_THAT(histogram.count, ElementsAre(0.0, 5.0, 7.0));
}

TEST(TensorBoard, RecordsAreFramedByLengthAndMaskedChecksums) {
  const std::string long_message(1000, 'x');
  const std::string file = tfrecord("") + tfrecord("abc") + tfrecord(long_message);
  EXPECT_EQ(file.size(), 3U * 16U + 3U + 1000U);
  EXPECT_THAT(read_tfrecords(file), ElementsAre("", "abc", long_message));
  // The reader sees any flipped bit.
  for (const std::size_t at : {0U, 9U, 16U, 28U, 30U}) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    EXPECT_THROW((void)read_tfrecords(damaged), std::runtime_error) << at;
  }
}

}  // namespace
}  // namespace switchyard::format
