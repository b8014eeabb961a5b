#include "switchyard/kernels/row_gather.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace switchyard::kernels {
namespace {

// Each element says which token and column it came from.
std::vector<std::uint32_t> provenance(std::int64_t num_tokens, std::int64_t row_size) {
  std::vector<std::uint32_t> x;
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    for (std::int64_t h = 0; h < row_size; ++h) {
      x.push_back(static_cast<std::uint32_t>(t << 16 | h));
    }
  }
  return x;
}

TEST(RowGather, CopiesEachRowFromItsTokenAndZeroesThePadding) {
  constexpr std::uint32_t kUntouched = 0xDEADBEEF;
  for (const std::int64_t row_size : {1, 7, 64, 5000}) {
    const auto x = provenance(9, row_size);
    const std::vector<std::int32_t> row_token_N{8, 0, 0, 3, 7, 8, 1};
    const std::int64_t padded_rows = 10;
    std::vector<std::uint32_t> out(static_cast<std::size_t>((padded_rows + 1) * row_size),
                                   kUntouched);
    cpu::row_gather({.x = reinterpret_cast<const std::byte*>(x.data()),
                     .row_token_N = row_token_N.data(),
                     .num_rows = 7,
                     .padded_rows = padded_rows,
                     .row_bytes = 4 * row_size,
                     .out = reinterpret_cast<std::byte*>(out.data())});
    for (std::int64_t r = 0; r <= padded_rows; ++r) {
      for (std::int64_t h = 0; h < row_size; ++h) {
        std::uint32_t expected = kUntouched;
        if (r < padded_rows) expected = 0;
        if (r < 7) {
          expected = static_cast<std::uint32_t>(
              static_cast<std::int64_t>(row_token_N[static_cast<std::size_t>(r)]) << 16 | h);
        }
        ASSERT_EQ(out[static_cast<std::size_t>(r * row_size + h)], expected)
            << "row " << r << ", column " << h;
      }
    }
  }
}

TEST(RowGather, AcceptsNoRows) {
  cpu::row_gather({.row_bytes = 64});
  cpu::row_gather({});
}

}  // namespace
}  // namespace switchyard::kernels
