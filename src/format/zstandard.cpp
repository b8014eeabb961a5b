// Zstandard through libzstd: one frame after the other, checksums included.
#include "format/decompressor.h"
#include "switchyard/core/error.h"

#if SWITCHYARD_WITH_ZSTD

#include <fmt/format.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <memory>
#include <new>

#include "switchyard/core/standard_input.h"
#include "switchyard/core/text.h"

namespace switchyard::format {

const bool has_zstandard = true;

void decompress_zstandard(std::string_view bytes, const std::string& name, const TakePart& take) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&::ZSTD_freeDCtx)> context(::ZSTD_createDCtx(),
                                                                       &::ZSTD_freeDCtx);
  if (context == nullptr) throw std::bad_alloc();
  std::string part(kPartBytes, '\0');
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  const auto place = [&] {
    return CompressedPlace{name, "Zstandard-compressed", "zstd -t", in.pos};
  };
  while (true) {
    ZSTD_outBuffer out{part.data(), part.size(), 0};
    const std::size_t left = ::ZSTD_decompressStream(context.get(), &out, &in);
    if (::ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation) throw std::bad_alloc();
    if (::ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge) {
      throw DataError(
          fmt::format("{}: compressed with a window of more than 128 MiB (zstd --long)", name),
          fmt::format("`zstdcat --long=31 {}` writes the text to standard output",
                      shell_path(file_of(name))));
    }
    if (::ZSTD_isError(left) != 0) throw_damaged(place(), ::ZSTD_getErrorName(left));
    if (out.pos > 0) take(std::string_view(part).substr(0, out.pos));
    if (in.pos < in.size) continue;
    if (left == 0) return;
    if (out.pos < out.size) throw_cut_off(place());
  }
}

}  // namespace switchyard::format

#else

namespace switchyard::format {

const bool has_zstandard = false;

void decompress_zstandard(std::string_view /*bytes*/, const std::string& name,
                          const TakePart& /*take*/) {
  throw InternalError(name + ": this program was built without libzstd");
}

}  // namespace switchyard::format

#endif
