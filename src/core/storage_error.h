// What the system says about a file, as the error of ours that it is.
#pragma once

#include <unistd.h>

#include <filesystem>

namespace switchyard {

// "cannot `action` `path`: ..." with a hint where there is one. Throws OutOfMemoryError for ENOMEM,
// StorageError for the rest.
[[noreturn]] void throw_storage(const char* action, const std::filesystem::path& path,
                                int error_number);

// Closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return value_; }

 private:
  int value_;
};

}  // namespace switchyard
