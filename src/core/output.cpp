#include "switchyard/core/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>

#include "core/write_all.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/terminal.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as the kernel follows

[[noreturn]] void fail(const std::string& destination, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT;
  throw StorageError(fmt::format("cannot write {}: {}", destination, std::strerror(error_number)),
                     full ? "free some space on that disk" : "");
}

// The descriptor that a name such as /proc/self/fd/1 stands for.
std::optional<int> descriptor_of(const fs::path& path) {
  std::error_code error;
  const fs::path folder = fs::canonical(path.parent_path(), error);
  if (error || folder != fs::canonical("/proc/self/fd", error) || error) return std::nullopt;
  const std::string name = path.filename().string();
  int number = -1;
  const auto [rest, parsed] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (parsed != std::errc() || rest != name.data() + name.size()) return std::nullopt;
  return number;
}

void write_stream(int descriptor, const std::string& destination, std::string_view bytes) {
  if (const int error = write_all(descriptor, bytes)) fail(destination, error);
}

void write_device(const fs::path& device, const std::string& destination, std::string_view bytes) {
  const int descriptor = ::open(device.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (descriptor < 0) fail(destination, errno);
  try {
    write_stream(descriptor, destination, bytes);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  if (::close(descriptor) != 0 && errno != EINTR) fail(destination, errno);
}

void replace_file(const fs::path& file, const std::string& destination, std::string_view bytes) {
  // A rename would not ask.
  if (::access(file.c_str(), W_OK) != 0) fail(destination, errno);
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) fail(destination, errno);
  AtomicFile replacement(file, status.st_mode & 0666);
  replacement.write(bytes);
  replacement.commit();
  if (::chmod(file.c_str(), status.st_mode & 07777) != 0) fail(destination, errno);
}

// One link further, relative to where the link is.
fs::path next_of(const fs::path& link) {
  std::error_code error;
  const fs::path target = fs::read_symlink(link, error);
  if (error) throw StorageError(fmt::format("cannot follow the link {}", link.string()));
  return target.is_absolute() ? target : link.parent_path() / target;
}

struct Place {
  fs::path path;
  std::optional<int> descriptor{};  // that the path is a name of
};

// Names of descriptors are links as well, but what they lead to may have no name.
Place place_of(const std::string& destination) {
  Place at{.path = destination};
  if (destination == "-") at.descriptor = STDOUT_FILENO;
  std::error_code error;
  for (int links = 0; !at.descriptor && links <= kMostLinks; ++links) {
    at.descriptor = descriptor_of(at.path);
    if (at.descriptor || !fs::is_symlink(fs::symlink_status(at.path, error))) break;
    at.path = next_of(at.path);
  }
  return at;
}

}  // namespace

bool is_standard_output(const std::string& destination) {
  return place_of(destination).descriptor == STDOUT_FILENO;
}

fs::path follow_links(const fs::path& path) {
  fs::path at = path;
  std::error_code error;
  for (int links = 0; fs::is_symlink(fs::symlink_status(at, error)); ++links) {
    if (links == kMostLinks) {
      throw StorageError(fmt::format("{}: the link leads in a circle", path.string()));
    }
    at = next_of(at);
  }
  return at;
}

Written write_output(const std::string& destination, std::string_view bytes) {
  const Place place = place_of(destination);
  if (place.descriptor) {
    if (*place.descriptor == STDOUT_FILENO) {
      write_stdout(std::string(bytes));
    } else {
      write_stream(*place.descriptor, destination, bytes);
    }
    return Written::kStream;
  }
  const fs::path& at = place.path;
  std::error_code error;
  const fs::file_status status = fs::status(follow_links(at), error);
  if (status.type() == fs::file_type::not_found) {
    write_file_atomically(at, bytes);
    return Written::kFile;
  }
  if (fs::is_directory(status)) fail(destination, EISDIR);
  if (fs::is_regular_file(status)) {
    replace_file(at, destination, bytes);
    return Written::kFile;
  }
  write_device(at, destination, bytes);
  return Written::kStream;
}

}  // namespace switchyard
