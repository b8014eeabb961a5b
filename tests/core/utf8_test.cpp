#include "switchyard/core/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace switchyard {
namespace {

using namespace std::string_literals;

// Encodes without any check, as the definition's bit patterns say.
std::string encode(unsigned code, int length) {
  if (length == 1) return {static_cast<char>(code)};
  std::string result;
  const unsigned lead = length == 2 ? 0xC0U : length == 3 ? 0xE0U : 0xF0U;
  result += static_cast<char>(lead | code >> (6U * static_cast<unsigned>(length - 1)));
  for (int i = length - 2; i >= 0; --i) {
    result += static_cast<char>(0x80U | (code >> (6U * static_cast<unsigned>(i)) & 0x3FU));
  }
  return result;
}

TEST(Utf8, EveryCodePointInItsShortestFormIsValidAndNoOtherFormIs) {
  for (unsigned code = 0; code < 0x120000; code += code < 0x3000 ? 1 : 97) {
    const int shortest = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    const bool surrogate = code >= 0xD800 && code < 0xE000;
    for (int length = shortest; length <= 4; ++length) {
      const bool valid = length == shortest && !surrogate && code <= 0x10FFFF;
      EXPECT_EQ(utf8_character_length(encode(code, length)), valid ? std::size_t(length) : 0U)
          << "code " << code << " in " << length << " bytes";
    }
  }
}

TEST(Utf8, TheFirstBadByteIsFoundBehindTextOfAnyLength) {
  for (std::size_t before = 0; before < 40; ++before) {
    const std::string good = std::string(before, 'a') + "\xC3\xA9"s;
    EXPECT_FALSE(first_invalid_utf8(good).has_value());
    EXPECT_EQ(first_invalid_utf8(good + "\xFF rest"), before + 2);
    EXPECT_EQ(first_invalid_utf8(good + "\xE2\x82"), before + 2) << "cut off inside a character";
  }
  EXPECT_FALSE(first_invalid_utf8("").has_value());
  EXPECT_FALSE(first_invalid_utf8("nul \0 is valid"s).has_value());
}

TEST(Utf8, BoundariesAreTheStartsOfCharacters) {
  const std::string text = "a\xC3\xA9\xF0\x9F\x98\x80z";  // a, 2 bytes, 4 bytes, z
  const std::size_t expected[] = {0, 1, 1, 3, 3, 3, 3, 7, 8, 8};
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(floor_character_boundary(text, i), expected[i]) << i;
  }
}

}  // namespace
}  // namespace switchyard
