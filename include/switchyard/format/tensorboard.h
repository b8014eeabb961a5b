// TensorBoard event files: a sequence of framed records, each one protobuf message `Event`
// (tensorboard/compat/proto/event.proto and summary.proto). Only what a training run writes:
// scalars, histograms and the two events that begin a session.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::format {

struct TensorBoardScalar {
  std::string tag;
  double value = 0.0;  // stored as a float
};

// count[i] values lie in (bucket_limit[i - 1], bucket_limit[i]].
struct TensorBoardHistogram {
  std::string tag;
  std::vector<double> bucket_limit;  // ascending
  std::vector<double> count;         // as many
};

// Bars of height count[i] around the integers i: the histogram of a number from 0 to n - 1.
[[nodiscard]] TensorBoardHistogram integer_histogram(std::string tag, std::vector<double> count);

// A message `Event`, not framed. `wall_time` in seconds since 1970.
[[nodiscard]] std::string file_version_event(double wall_time);
// SessionLog START: readers drop what earlier files say about `first_step` and later steps.
[[nodiscard]] std::string session_start_event(double wall_time, std::int64_t first_step);
[[nodiscard]] std::string summary_event(double wall_time, std::int64_t step,
                                        const std::vector<TensorBoardScalar>& scalars,
                                        const std::vector<TensorBoardHistogram>& histograms);

// One record of the file: uint64 length, its masked crc32c, the bytes, their masked crc32c.
[[nodiscard]] std::string tfrecord(std::string_view message);

}  // namespace switchyard::format
