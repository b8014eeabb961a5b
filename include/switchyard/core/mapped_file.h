// A file read through the memory that it is mapped into.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "switchyard/core/file_id.h"

namespace switchyard {

// Read-only memory map of a file; an empty file gives an empty span. Where the file cannot be read
// any more (somebody cut it short, its disk or server failed) the system would end the process with
// SIGBUS: here zeros are read instead, and check_whole() says so.
class MappedFile {
 public:
  MappedFile() = default;
  // Throws StorageError, OutOfMemoryError.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  // After reading: throws where some of what was read so far may not have been there, naming the
  // file: DataError when it was cut short, StorageError when its disk or server failed.
  void check_whole() const;
  // After reading `part` of bytes(): the process no longer holds its pages. Reading it again is
  // valid and fetches them again.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  FileId id_{};
  int watched_ = -1;  // place in the table that the handler of SIGBUS looks into; -1 = none
};

}  // namespace switchyard
