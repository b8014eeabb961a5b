// Readers of untrusted bytes must answer any damage with DataError or with a valid value. The
// damaged copy lies in a heap block of exactly its size, so that the address sanitizer sees a
// read one byte past it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::testing {

using Reader = std::function<void(std::span<const std::byte>)>;

inline bool is_refused(std::string_view bytes, const Reader& read) {
  std::vector<std::byte> copy(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
  try {
    read(copy);
    return false;
  } catch (const DataError&) {
    return true;  // any other type reaches the test and fails it
  }
}

struct DamageCount {
  std::size_t tried = 0;
  std::size_t refused = 0;
};

// Every proper prefix.
inline DamageCount read_every_truncation(std::string_view bytes, const Reader& read) {
  DamageCount count;
  for (std::size_t size = 0; size < bytes.size(); ++size, ++count.tried) {
    count.refused += is_refused(bytes.substr(0, size), read) ? 1 : 0;
  }
  return count;
}

// Byte by byte (every `stride`-th), each of several changes.
inline DamageCount read_byte_flips(const std::string& bytes, const Reader& read,
                                   std::size_t stride = 1) {
  constexpr std::array<unsigned char, 6> kMasks{0x01, 0x10, 0x20, 0x7F, 0x80, 0xFF};
  DamageCount count;
  for (std::size_t i = 0; i < bytes.size(); i += stride) {
    for (const unsigned char mask : kMasks) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(static_cast<unsigned char>(damaged[i]) ^ mask);
      ++count.tried;
      count.refused += is_refused(damaged, read) ? 1 : 0;
    }
  }
  return count;
}

}  // namespace switchyard::testing
