#include "switchyard/format/compressed.h"

#include <fmt/format.h>

#include "format/decompressor.h"
#include "switchyard/core/error.h"
#include "switchyard/core/standard_input.h"
#include "switchyard/core/text.h"

namespace switchyard::format {
namespace {

using namespace std::string_view_literals;

std::string test_hint(const CompressedPlace& place) {
  return fmt::format("copy or download it again; `{} {}` checks it", place.test_command,
                     shell_path(file_of(place.name)));
}

}  // namespace

std::optional<Compression> compression_of(std::string_view bytes) {
  if (bytes.starts_with("\x1F\x8B"sv)) return Compression::kGzip;
  if (bytes.starts_with("\x28\xB5\x2F\xFD"sv)) return Compression::kZstandard;
  // pzstd begins with a frame that is to be skipped.
  const bool skippable =
      bytes.size() >= 4 && (static_cast<unsigned char>(bytes[0]) & 0xF0U) == 0x50U;
  if (skippable && bytes.substr(1).starts_with("\x2A\x4D\x18"sv)) return Compression::kZstandard;
  return std::nullopt;
}

std::string missing_package(Compression compression) {
  if (compression == Compression::kGzip) return has_gzip ? "" : "zlib1g-dev";
  return has_zstandard ? "" : "libzstd-dev";
}

const char* decompressing_command(Compression compression) {
  return compression == Compression::kGzip ? "zcat" : "zstdcat";
}

std::string uncompressed_name(const std::string& name) {
  for (const std::string_view ending : {".gz"sv, ".zst"sv, ".zstd"sv}) {
    if (name.size() > ending.size() && name.ends_with(ending)) {
      return name.substr(0, name.size() - ending.size());
    }
  }
  return name;
}

void decompress(std::string_view bytes, Compression compression, const std::string& name,
                const std::function<void(std::string_view part)>& take) {
  if (compression == Compression::kGzip) {
    decompress_gzip(bytes, name, take);
  } else {
    decompress_zstandard(bytes, name, take);
  }
}

void throw_cut_off(const CompressedPlace& place) {
  throw DataError(fmt::format("{}: cut off: the {} data goes on after its last byte ({})",
                              place.name, place.what, place.offset),
                  test_hint(place));
}

void throw_damaged(const CompressedPlace& place, std::string_view reason) {
  throw DataError(fmt::format("{}: the {} data is damaged near byte {}: {}", place.name, place.what,
                              place.offset, reason),
                  test_hint(place));
}

}  // namespace switchyard::format
