// Compressed files: told from their bytes, decompressed as a stream in bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace switchyard::format {

enum class Compression : std::uint8_t { kGzip, kZstandard };

// What a whole file, or its beginning of at least 4 bytes, is compressed with; nothing for others.
[[nodiscard]] std::optional<Compression> compression_of(std::string_view bytes);

// The Debian package that this program was built without and needs for `compression`; empty when it
// has it.
[[nodiscard]] std::string missing_package(Compression compression);
// "zcat", "zstdcat": writes what is in the file that is its argument to standard output.
[[nodiscard]] const char* decompressing_command(Compression compression);

// "corpus.jsonl" for "corpus.jsonl.gz"; the name itself where no compression ends it.
[[nodiscard]] std::string uncompressed_name(const std::string& name);

// Hands what is in `bytes`, all members or frames one after the other, to `take` in parts of at
// most 256 KiB. However large that is, no more memory is needed than a window of up to 128 MiB.
// Throws DataError naming `name` and the offset when the data is cut off, damaged, or followed by
// something else; `take` then had a part of it.
void decompress(std::string_view bytes, Compression compression, const std::string& name,
                const std::function<void(std::string_view part)>& take);

}  // namespace switchyard::format
