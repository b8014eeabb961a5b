#include "glue/row_order.h"

#include <algorithm>
#include <cmath>

#include "switchyard/core/error.h"
#include "switchyard/data/sample_source.h"

namespace switchyard::glue {
namespace {

std::int64_t divided_up(std::int64_t number, std::int64_t by) {
  return (number + by - 1) / by;
}

}  // namespace

RowOrder::RowOrder(std::int64_t num_rows, std::int64_t batch_size, double epochs,
                   std::uint64_t seed)
    : num_rows_(num_rows),
      batch_size_(batch_size),
      num_rows_in_all_(
          std::max<std::int64_t>(1, std::llround(epochs * static_cast<double>(num_rows)))),
      steps_per_epoch_(divided_up(num_rows, batch_size)),
      seed_(seed) {
  SWITCHYARD_CHECK(num_rows > 0 && batch_size > 0, "{} rows in batches of {}", num_rows,
                   batch_size);
}

std::int64_t RowOrder::num_steps() const {
  return num_rows_in_all_ / num_rows_ * steps_per_epoch_ +
         divided_up(num_rows_in_all_ % num_rows_, batch_size_);
}

std::optional<std::int64_t> RowOrder::row(std::int64_t sample) const {
  const std::int64_t epoch = sample / (steps_per_epoch_ * batch_size_);
  const std::int64_t place = sample % (steps_per_epoch_ * batch_size_);
  if (place >= num_rows_ || epoch * num_rows_ + place >= num_rows_in_all_) return std::nullopt;
  const data::Permutation order(num_rows_,
                                seed_ * 0x9E3779B97F4A7C15ULL + static_cast<std::uint64_t>(epoch));
  return order(place);
}

}  // namespace switchyard::glue
