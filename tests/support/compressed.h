// Text as gzip and zstd store it, in blocks that are not compressed: tests write files of both
// kinds without either library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace switchyard::testing {

inline std::string little_endian(std::uint64_t value, std::size_t num_bytes) {
  std::string bytes;
  for (std::size_t i = 0; i < num_bytes; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFFU);
  return bytes;
}

inline std::uint32_t crc32_of(std::string_view text) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : text) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

// One member (RFC 1952) of stored blocks (RFC 1951).
inline std::string gzip_member(std::string_view text) {
  constexpr std::size_t kMostInBlock = 65535;
  std::string bytes = std::string("\x1F\x8B\x08", 3) + std::string(6, '\0') + '\x03';
  std::string_view rest = text;
  do {
    const std::string_view block = rest.substr(0, kMostInBlock);
    rest.remove_prefix(block.size());
    bytes += rest.empty() ? '\1' : '\0';
    bytes += little_endian(block.size(), 2) + little_endian(~block.size(), 2);
    bytes += block;
  } while (!rest.empty());
  return bytes + little_endian(crc32_of(text), 4) + little_endian(text.size(), 4);
}

constexpr std::size_t kZstandardBlock = std::size_t{1} << 17;
// Magic number, no size, a window of 128 KiB (or of 2^log_window).
inline std::string zstandard_head(unsigned log_window = 17) {
  return std::string("\x28\xB5\x2F\xFD\x00", 5) + static_cast<char>((log_window - 10) << 3U);
}

// One frame (RFC 8878) of raw blocks.
inline std::string zstandard_frame(std::string_view text) {
  std::string bytes = zstandard_head();
  std::string_view rest = text;
  do {
    const std::string_view block = rest.substr(0, kZstandardBlock);
    rest.remove_prefix(block.size());
    bytes += little_endian((rest.empty() ? 1U : 0U) | block.size() << 3U, 3);
    bytes += block;
  } while (!rest.empty());
  return bytes;
}

// One frame of `num_blocks` times 128 KiB of `byte`, which takes four bytes each time.
inline std::string zstandard_bomb(char byte, std::size_t num_blocks) {
  constexpr std::uint64_t kRepeated = 1U << 1U;
  std::string bytes = zstandard_head();
  for (std::size_t i = 0; i < num_blocks; ++i) {
    bytes += little_endian((i + 1 == num_blocks ? 1U : 0U) | kRepeated | kZstandardBlock << 3U, 3);
    bytes += byte;
  }
  return bytes;
}

}  // namespace switchyard::testing
