#include "switchyard/core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

#include "core/storage_error.h"
#include "core/write_all.h"
#include "switchyard/core/error.h"
#include "switchyard/core/output.h"

namespace switchyard {
namespace {

constexpr std::size_t kWriteBufferBytes = std::size_t{1} << 20;
constexpr std::string_view kTemporaryMark = ".tmp-";

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// Another one at every call.
std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<unsigned> counter{0};
  std::filesystem::path temporary = path;
  temporary += fmt::format("{}{}-{}", kTemporaryMark, ::getpid(), counter.fetch_add(1));
  return temporary;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw_storage("read", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_storage("read", path, errno);
  if (S_ISDIR(status.st_mode)) throw_storage("read", path, EISDIR);

  // The size is only a first guess: pipes and files under /proc report 0.
  std::string bytes;
  std::size_t used = 0;
  const auto expected = static_cast<std::size_t>(std::max<off_t>(status.st_size, 0));
  bytes.resize(std::max(expected + 1, std::size_t{4096}));
  while (true) {
    if (used == bytes.size()) bytes.resize(bytes.size() * 2);
    const ssize_t count = ::read(file.get(), bytes.data() + used, bytes.size() - used);
    if (count < 0) {
      if (errno == EINTR) continue;
      throw_storage("read", path, errno);
    }
    if (count == 0) break;
    used += static_cast<std::size_t>(count);
  }
  bytes.resize(used);
  return bytes;
}

void read_to_end(int descriptor, const std::string& name,
                 const std::function<void(std::string_view part)>& visit) {
  std::string buffer(std::size_t{1} << 16U, '\0');
  while (true) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count == 0) return;
    if (count > 0) {
      visit(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
    } else if (errno == EAGAIN) {  // another process that has it may have set that it does not wait
      pollfd readable{.fd = descriptor, .events = POLLIN, .revents = 0};
      (void)::poll(&readable, 1, -1);
    } else if (errno != EINTR) {
      throw_storage("read", name, errno);
    }
  }
}

void read_to_end(const std::filesystem::path& path,
                 const std::function<void(std::string_view part)>& visit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw_storage("read", path, errno);
  read_to_end(file.get(), path.string(), visit);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

std::optional<TemporaryName> parse_temporary_name(std::string_view name) {
  const std::size_t mark = name.rfind(kTemporaryMark);
  if (mark == std::string_view::npos || mark == 0) return std::nullopt;
  TemporaryName result{.final_name = name.substr(0, mark)};
  const char* const end = name.data() + name.size();
  const auto process =
      std::from_chars(name.data() + mark + kTemporaryMark.size(), end, result.process);
  if (process.ec != std::errc() || process.ptr == end || *process.ptr != '-') return std::nullopt;
  std::uint32_t number = 0;  // which of the process's files it is
  const auto rest = std::from_chars(process.ptr + 1, end, number);
  if (rest.ec != std::errc() || rest.ptr != end) return std::nullopt;
  return result;
}

void sync_folder(const std::filesystem::path& folder) {
  const Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) throw_storage("open the folder", folder, errno);
  // Some network file systems refuse to sync a folder; the rename itself has succeeded.
  if (::fsync(opened.get()) != 0 && errno != EINVAL && errno != ENOTSUP) {
    throw_storage("sync the folder", folder, errno);
  }
}

void publish_folder(const std::filesystem::path& finished,
                    const std::filesystem::path& final_name) {
  sync_folder(finished);
  if (::rename(finished.c_str(), final_name.c_str()) != 0) {
    throw_storage("create", final_name, errno);
  }
  sync_folder(folder_of(final_name));
}

AtomicFile::AtomicFile(std::filesystem::path path, unsigned mode) : path_(std::move(path)) {
  // The name can be taken: by a process that was killed, as pids repeat quickly in containers.
  constexpr int kAttempts = 1000;
  for (int attempt = 0; attempt < kAttempts && descriptor_ < 0; ++attempt) {
    temporary_ = temporary_name(path_);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (descriptor_ < 0 && errno != EEXIST) break;
  }
  if (descriptor_ < 0) throw_storage("create", path_, errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* action) {
  const int error_number = errno;
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  ::unlink(temporary_.c_str());
  throw_storage(action, path_, error_number);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void AtomicFile::write(std::string_view text) {
  SWITCHYARD_CHECK(descriptor_ >= 0, "{} was written after it was closed", path_.string());
  const auto put = [&](std::string_view part) {
    errno = write_all(descriptor_, part);
    if (errno != 0) fail("write");
  };
  if (buffer_.size() + text.size() <= kWriteBufferBytes) {
    buffer_ += text;
  } else {
    put(buffer_);
    buffer_.clear();
    if (text.size() < kWriteBufferBytes) {
      buffer_ = text;
    } else {
      put(text);
    }
  }
  bytes_written_ += text.size();
}

void AtomicFile::commit() {
  SWITCHYARD_CHECK(descriptor_ >= 0, "{} was committed after it was closed", path_.string());
  errno = write_all(descriptor_, buffer_);
  if (errno != 0) fail("write");
  buffer_.clear();
  if (::fsync(descriptor_) != 0) fail("sync");
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0 && errno != EINTR) fail("close");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("replace");
  sync_folder(folder_of(path_));
}

void separate_from_hard_links(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink < 2) return;
  (void)write_output(path.string(), read_file(path));
}

AppendFile::AppendFile(std::filesystem::path path, Mode mode) : path_(std::move(path)) {
  if (mode == Mode::kContinue) separate_from_hard_links(path_);
  const int create = mode == Mode::kCreateNew ? O_CREAT | O_EXCL : O_CREAT;
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | create, 0666);
  if (descriptor_ < 0) throw_storage("open", path_, errno);
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::write(std::string_view bytes) {
  pending_ += bytes;
  while (!pending_.empty()) {
    const ssize_t count = ::write(descriptor_, pending_.data(), pending_.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw_storage("write", path_, count == 0 ? EIO : errno);
    pending_.erase(0, static_cast<std::size_t>(count));
  }
}

}  // namespace switchyard
