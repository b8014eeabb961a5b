// What every fuzz target shares. A target reads bytes as a hostile file: the typed error of its
// layer or a sound value are the only answers; anything else ends the process, which libFuzzer (and
// the sanitizers it runs under) report as a finding.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "switchyard/core/error.h"

namespace switchyard::fuzz {

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// A message is one that a terminal can show: bounded, without control characters.
inline void check_message(std::string_view message) {
  require(!message.empty(), "an error says something");
  require(message.size() < 4096, "an error message is bounded");
  require(std::none_of(message.begin(), message.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }),
          "an error message holds no control characters");
}

// Runs `read`; DataError is the one error that it may end with. True when it did not.
template <typename Read>
bool reads(Read&& read) {
  try {
    read();
    return true;
  } catch (const DataError& error) {
    check_message(error.what());
    return false;
  }
}

}  // namespace switchyard::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
