// gzip through zlib: one member after the other, as `cat a.gz b.gz` and bgzip make them.
#include "format/decompressor.h"
#include "switchyard/core/error.h"

#if SWITCHYARD_WITH_ZLIB

#include <zlib.h>

#include <algorithm>
#include <new>

namespace switchyard::format {
namespace {

constexpr std::size_t kMostInput = std::size_t{1} << 30;  // zlib counts in 32 bits
constexpr std::string_view kMagic = "\x1F\x8B";

class Inflater {
 public:
  Inflater() {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (::inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { ::inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream& stream() { return stream_; }

 private:
  z_stream stream_{};
};

}  // namespace

const bool has_gzip = true;

void decompress_gzip(std::string_view bytes, const std::string& name, const TakePart& take) {
  Inflater inflater;
  z_stream& stream = inflater.stream();
  std::string part(kPartBytes, '\0');
  const std::string_view all = bytes;
  const auto place = [&] {
    return CompressedPlace{name, "gzip-compressed", "gzip -t", all.size() - bytes.size()};
  };
  while (true) {
    const std::size_t input = std::min(bytes.size(), kMostInput);
    // zlib only reads, but its interface is older than `const`.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(input);
    stream.next_out = reinterpret_cast<Bytef*>(part.data());
    stream.avail_out = static_cast<uInt>(part.size());
    const int status = ::inflate(&stream, Z_NO_FLUSH);
    bytes.remove_prefix(input - stream.avail_in);
    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    if (status == Z_BUF_ERROR) throw_cut_off(place());
    if (status != Z_OK && status != Z_STREAM_END) {
      throw_damaged(place(), stream.msg == nullptr ? "no gzip member" : stream.msg);
    }
    if (const std::size_t output = part.size() - stream.avail_out; output > 0) {
      take(std::string_view(part).substr(0, output));
    }
    if (status == Z_OK) continue;
    // Tapes and blocks of disks are filled up with zeros.
    if (bytes.find_first_not_of('\0') == std::string_view::npos) return;
    if (!bytes.starts_with(kMagic)) throw_damaged(place(), "what follows is no gzip member");
    ::inflateReset(&stream);
  }
}

}  // namespace switchyard::format

#else

namespace switchyard::format {

const bool has_gzip = false;

void decompress_gzip(std::string_view /*bytes*/, const std::string& name,
                     const TakePart& /*take*/) {
  throw InternalError(name + ": this program was built without zlib");
}

}  // namespace switchyard::format

#endif
