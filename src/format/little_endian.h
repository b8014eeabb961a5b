// Fixed-size little-endian values in byte spans.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

namespace switchyard::format {

static_assert(std::endian::native == std::endian::little, "file formats assume little-endian");

// The caller has checked that offset + sizeof(T) <= bytes.size().
template <typename T>
[[nodiscard]] T load(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <typename T>
[[nodiscard]] std::span<const std::byte> bytes_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof(T)};
}

}  // namespace switchyard::format
