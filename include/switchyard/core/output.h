// Where a user asked for output: a file, a link, a device, a pipe, standard output. Nothing but a
// regular file is ever replaced.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace switchyard {

enum class Written {
  kFile,    // a regular file under the name that was given, or where a link of that name leads
  kStream,  // a device, a pipe or an open descriptor: what was written may be on the terminal
};

// Writes `bytes` where `destination` leads. "-" is standard output; a link is followed and stays; a
// name of an open descriptor (/dev/stdout, /dev/fd/3) is that descriptor, neither truncated nor
// opened again; a device or FIFO is written to; a regular file is replaced atomically, keeps its
// permissions, and is left alone when it may not be written. Throws StorageError naming the
// destination.
Written write_output(const std::string& destination, std::string_view bytes);

// Is what write_output() writes to `destination` written to standard output, whatever it is called?
// Throws StorageError for a link that cannot be followed.
[[nodiscard]] bool is_standard_output(const std::string& destination);

// Where the links lead that `path` ends in, whether or not anything is there. Throws StorageError
// for links that lead in a circle.
[[nodiscard]] std::filesystem::path follow_links(const std::filesystem::path& path);

}  // namespace switchyard
