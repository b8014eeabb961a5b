// Files in which one byte is another one.
#pragma once

#include <filesystem>
#include <fstream>
#include <utility>

namespace switchyard::testing {

// Twice is as before.
inline void change_one_byte(const std::filesystem::path& file) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(file) / 2);
  stream.seekg(middle);
  const int byte = stream.get();
  stream.seekp(middle);
  stream.put(static_cast<char>(byte ^ 1));
}

// While this is there.
class OneByteChanged {
 public:
  explicit OneByteChanged(std::filesystem::path file) : file_(std::move(file)) {
    change_one_byte(file_);
  }
  ~OneByteChanged() { change_one_byte(file_); }
  OneByteChanged(const OneByteChanged&) = delete;
  OneByteChanged& operator=(const OneByteChanged&) = delete;

 private:
  std::filesystem::path file_;
};

}  // namespace switchyard::testing
