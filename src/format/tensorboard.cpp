#include "switchyard/format/tensorboard.h"

#include <span>
#include <utility>

#include "format/little_endian.h"
#include "switchyard/core/error.h"
#include "switchyard/format/crc32c.h"

namespace switchyard::format {
namespace {

// The wire format of protobuf: fields of (number << 3 | type) and a value; numbers of 7 bits per
// byte, lowest first.
class Message {
 public:
  void add_integer(int field, std::int64_t value) {
    add_key(field, 0);
    add_varint(static_cast<std::uint64_t>(value));
  }
  void add_double(int field, double value) {
    add_key(field, 1);
    append(value);
  }
  void add_float(int field, float value) {
    add_key(field, 5);
    append(value);
  }
  void add_bytes(int field, std::string_view bytes) {
    add_key(field, 2);
    add_varint(bytes.size());
    bytes_ += bytes;
  }
  void add_packed(int field, const std::vector<double>& values) {
    Message packed;
    for (const double value : values) packed.append(value);
    add_bytes(field, packed.bytes_);
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  void add_key(int field, int type) { add_varint(static_cast<std::uint64_t>(field << 3 | type)); }
  void add_varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7F) | 0x80);
    bytes_ += static_cast<char>(value);
  }
  template <typename T>
  void append(T value) {
    const auto bytes = bytes_of(value);
    bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string bytes_;
};

// The field numbers of the messages.
namespace event {
constexpr int kWallTime = 1;
constexpr int kStep = 2;
constexpr int kFileVersion = 3;
constexpr int kSummary = 5;
constexpr int kSessionLog = 7;
}  // namespace event
namespace session_log {
constexpr int kStatus = 1;
constexpr std::int64_t kStart = 1;
}  // namespace session_log
namespace summary {
constexpr int kValue = 1;
constexpr int kTag = 1;
constexpr int kSimpleValue = 2;
constexpr int kHistogram = 5;
}  // namespace summary
namespace histogram {
constexpr int kMin = 1;
constexpr int kMax = 2;
constexpr int kNum = 3;
constexpr int kSum = 4;
constexpr int kSumSquares = 5;
constexpr int kBucketLimit = 6;
constexpr int kBucket = 7;
}  // namespace histogram

Message begin_event(double wall_time, std::int64_t step) {
  Message message;
  message.add_double(event::kWallTime, wall_time);
  message.add_integer(event::kStep, step);
  return message;
}

// The moments are those of the buckets' centres.
Message histogram_message(const TensorBoardHistogram& values) {
  SWITCHYARD_CHECK(values.bucket_limit.size() == values.count.size(), "{} limits of {} buckets",
                   values.bucket_limit.size(), values.count.size());
  double num = 0.0;
  double sum = 0.0;
  double sum_squares = 0.0;
  for (std::size_t i = 0; i < values.count.size(); ++i) {
    const double limit = values.bucket_limit[i];
    const double center = i == 0 ? limit : (values.bucket_limit[i - 1] + limit) / 2.0;
    num += values.count[i];
    sum += values.count[i] * center;
    sum_squares += values.count[i] * center * center;
  }
  Message message;
  message.add_double(histogram::kMin, values.bucket_limit.empty() ? 0.0 : values.bucket_limit[0]);
  message.add_double(histogram::kMax,
                     values.bucket_limit.empty() ? 0.0 : values.bucket_limit.back());
  message.add_double(histogram::kNum, num);
  message.add_double(histogram::kSum, sum);
  message.add_double(histogram::kSumSquares, sum_squares);
  message.add_packed(histogram::kBucketLimit, values.bucket_limit);
  message.add_packed(histogram::kBucket, values.count);
  return message;
}

}  // namespace

TensorBoardHistogram integer_histogram(std::string tag, std::vector<double> count) {
  TensorBoardHistogram result{.tag = std::move(tag), .bucket_limit = {-0.5}, .count = {0.0}};
  for (std::size_t i = 0; i < count.size(); ++i) {
    result.bucket_limit.push_back(static_cast<double>(i) + 0.5);
    result.count.push_back(count[i]);
  }
  return result;
}

std::string file_version_event(double wall_time) {
  Message message = begin_event(wall_time, 0);
  message.add_bytes(event::kFileVersion, "brain.Event:2");
  return message.bytes();
}

std::string session_start_event(double wall_time, std::int64_t first_step) {
  Message log;
  log.add_integer(session_log::kStatus, session_log::kStart);
  Message message = begin_event(wall_time, first_step);
  message.add_bytes(event::kSessionLog, log.bytes());
  return message.bytes();
}

std::string summary_event(double wall_time, std::int64_t step,
                          const std::vector<TensorBoardScalar>& scalars,
                          const std::vector<TensorBoardHistogram>& histograms) {
  Message values;
  for (const TensorBoardScalar& scalar : scalars) {
    Message value;
    value.add_bytes(summary::kTag, scalar.tag);
    value.add_float(summary::kSimpleValue, static_cast<float>(scalar.value));
    values.add_bytes(summary::kValue, value.bytes());
  }
  for (const TensorBoardHistogram& entry : histograms) {
    Message value;
    value.add_bytes(summary::kTag, entry.tag);
    value.add_bytes(summary::kHistogram, histogram_message(entry).bytes());
    values.add_bytes(summary::kValue, value.bytes());
  }
  Message message = begin_event(wall_time, step);
  message.add_bytes(event::kSummary, values.bytes());
  return message.bytes();
}

std::string tfrecord(std::string_view message) {
  const auto text = [](std::span<const std::byte> bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const std::uint64_t length = message.size();
  const std::uint32_t length_crc = masked_crc32c(bytes_of(length));
  const std::uint32_t message_crc =
      masked_crc32c(std::as_bytes(std::span(message.data(), message.size())));
  std::string record;
  record.reserve(message.size() + 16);
  record += text(bytes_of(length));
  record += text(bytes_of(length_crc));
  record += message;
  record += text(bytes_of(message_crc));
  return record;
}

}  // namespace switchyard::format
