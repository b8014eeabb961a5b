// In which order training reads its rows: epoch after epoch, each in an order of its own, each
// ending in a batch that is as short as what is left.
#pragma once

#include <cstdint>
#include <optional>

namespace switchyard::glue {

// Samples are numbered by steps of `batch_size` each, so a number may stand for no row.
class RowOrder {
 public:
  // `epochs` > 0 need not be whole: round(epochs * num_rows) rows are read in all, at least one.
  RowOrder(std::int64_t num_rows, std::int64_t batch_size, double epochs, std::uint64_t seed);

  [[nodiscard]] std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  [[nodiscard]] std::int64_t num_steps() const;
  // The row of a sample; none behind an epoch's last row and when all have been read.
  [[nodiscard]] std::optional<std::int64_t> row(std::int64_t sample) const;

 private:
  std::int64_t num_rows_;
  std::int64_t batch_size_;
  std::int64_t num_rows_in_all_;
  std::int64_t steps_per_epoch_;
  std::uint64_t seed_;
};

}  // namespace switchyard::glue
