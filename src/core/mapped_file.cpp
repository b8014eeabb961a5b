#include "switchyard/core/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

#include "core/storage_error.h"
#include "switchyard/core/error.h"

namespace switchyard {
namespace {

// The maps of this process, for a handler that may neither lock nor allocate. A map that finds no
// place here (thousands of files at once) is as it would be without: SIGBUS ends the process.
struct WatchedMap {
  std::atomic<std::uintptr_t> begin{0};  // 0 = free
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> is_broken{false};
};
constexpr std::size_t kMostWatched = 4096;
std::array<WatchedMap, kMostWatched> watched;
std::atomic<std::size_t> num_used{0};  // no place from here on was ever taken
std::uintptr_t page_bytes = 0;
struct sigaction previous {};

// Puts zeros where the file is not: from the page of `place` to the end of its map.
bool mend(void* place) {
  const auto address = reinterpret_cast<std::uintptr_t>(place);
  const std::size_t count = num_used.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    WatchedMap& map = watched[i];
    const std::uintptr_t begin = map.begin.load(std::memory_order_acquire);
    const std::uintptr_t end = map.end.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= end) continue;
    if (map.begin.load(std::memory_order_acquire) != begin) continue;  // the end is of another map
    map.is_broken.store(true, std::memory_order_release);  // before anybody can read the zeros
    std::byte* const page = static_cast<std::byte*>(place) - address % page_bytes;
    return ::mmap(page, end - (address - address % page_bytes), PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error_number = errno;
  const bool is_access = info->si_code > 0;  // not sent by somebody
  if (is_access && mend(info->si_addr)) {
    errno = error_number;
    return;
  }
  // None of ours: to whoever was there before, or, as the access is repeated, the end.
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    ::sigaction(signal, &previous, nullptr);
    if (!is_access) (void)::raise(signal);
  }
}

int watch(std::uintptr_t begin, std::size_t size) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (page_bytes == 0) {
    page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = &on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous);
  }
  for (std::size_t i = 0; i < kMostWatched; ++i) {
    WatchedMap& map = watched[i];
    if (map.begin.load() != 0) continue;
    map.is_broken = false;
    map.end = begin + size;
    map.begin = begin;
    if (i >= num_used.load()) num_used = i + 1;
    return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw_storage("open", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_storage("open", path, errno);
  if (S_ISDIR(status.st_mode)) throw_storage("open", path, EISDIR);
  if (!S_ISREG(status.st_mode)) {
    throw StorageError(fmt::format("cannot map {}: not a regular file", path.string()));
  }
  id_ = file_id(status);
  if (status.st_size == 0) return;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) throw_storage("map", path, errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = size;
  watched_ = watch(reinterpret_cast<std::uintptr_t>(address), size);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  if (watched_ >= 0) watched[static_cast<std::size_t>(watched_)].begin = 0;
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::check_whole() const {
  const bool is_broken = watched_ >= 0 && watched[static_cast<std::size_t>(watched_)].is_broken;
  // Between the new end and that of its page zeros are read as if they were the file's.
  struct stat status {};
  const bool is_same = ::stat(path_.c_str(), &status) == 0 && file_id(status) == id_;
  if (is_same && static_cast<std::size_t>(status.st_size) < size_) {
    throw DataError(fmt::format("{}: the file was cut short while it was in use", path_.string()),
                    "files that are in use must stay as they are");
  }
  if (is_broken) {
    throw StorageError(fmt::format("{}: a part of it cannot be read any more", path_.string()),
                       "its disk, or the server that it is on, failed");
  }
}

void MappedFile::release(std::span<const std::byte> part) const noexcept {
  // Parts need not end where pages do: the last page is left to the part behind it.
  static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto page_of = [this](const std::byte* place) {
    return static_cast<std::size_t>(place - data_) / page;
  };
  if (part.empty()) return;
  const std::size_t begin = page_of(part.data());
  const std::size_t end = page_of(part.data() + part.size());
  if (begin == end) return;
  // Only advice: a failure leaves pages where they are.
  (void)::madvise(const_cast<std::byte*>(data_) + begin * page, (end - begin) * page,
                  MADV_DONTNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      id_(std::exchange(other.id_, {})),
      watched_(std::exchange(other.watched_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(id_, other.id_);
  std::swap(watched_, other.watched_);
  return *this;
}

}  // namespace switchyard
