#include "switchyard/format/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <string_view>

namespace switchyard::format {
namespace {

std::span<const std::byte> bytes_of_text(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// RFC 3720, appendix B.4.
TEST(Crc32c, GivesTheVectorsOfTheStandard) {
  std::array<std::byte, 32> data{};
  EXPECT_EQ(crc32c(data), 0x8A9136AAU);
  data.fill(std::byte{0xFF});
  EXPECT_EQ(crc32c(data), 0x62A8AB43U);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(data), 0x46DD794EU);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(31 - i);
  EXPECT_EQ(crc32c(data), 0x113FDB5CU);
  EXPECT_EQ(crc32c(bytes_of_text("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

// mask(crc) = rotate_right(crc, 15) + 0xa282ead8, done by hand for the vector above.
TEST(Crc32c, MaskRotatesAndShifts) {
  // 0xE3069283 rotated right by 15 bits is 0x2507C60D.
  EXPECT_EQ(masked_crc32c(bytes_of_text("123456789")), 0x2507C60DU + 0xA282EAD8U);
}

}  // namespace
}  // namespace switchyard::format
