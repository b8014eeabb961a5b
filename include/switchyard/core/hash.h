// XXH3 hashes of bytes and files, written as 16 lower-case hexadecimal digits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace switchyard {

[[nodiscard]] std::uint64_t xxh3(std::span<const std::byte> bytes, std::uint64_t seed = 0);
[[nodiscard]] std::uint64_t xxh3(std::string_view text, std::uint64_t seed = 0);
[[nodiscard]] std::string to_hex(std::uint64_t value);
// Streams the file; throws StorageError when it cannot be read.
[[nodiscard]] std::string xxh3_of_file(const std::filesystem::path& path);

}  // namespace switchyard
