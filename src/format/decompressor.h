// One function per kind of compression, and the errors that they share.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace switchyard::format {

using TakePart = std::function<void(std::string_view part)>;
inline constexpr std::size_t kPartBytes = std::size_t{1} << 18;

// As decompress(). Built without the library they are never called: missing_package() names it.
void decompress_gzip(std::string_view bytes, const std::string& name, const TakePart& take);
void decompress_zstandard(std::string_view bytes, const std::string& name, const TakePart& take);
extern const bool has_gzip;
extern const bool has_zstandard;

struct CompressedPlace {
  const std::string& name;   // of the file
  const char* what;          // "gzip-compressed"
  const char* test_command;  // "gzip -t"
  std::size_t offset;        // in the file
};
[[noreturn]] void throw_cut_off(const CompressedPlace& place);
[[noreturn]] void throw_damaged(const CompressedPlace& place, std::string_view reason);

}  // namespace switchyard::format
