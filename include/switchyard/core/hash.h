// XXH3 hashes of bytes and files, written as 16 lower-case hexadecimal digits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace switchyard {

[[nodiscard]] std::uint64_t xxh3(std::span<const std::byte> bytes, std::uint64_t seed = 0);
[[nodiscard]] std::uint64_t xxh3(std::string_view text, std::uint64_t seed = 0);
[[nodiscard]] std::string to_hex(std::uint64_t value);

// xxh3 of bytes that come in pieces, however they are cut.
class Xxh3Stream {
 public:
  Xxh3Stream();
  ~Xxh3Stream();
  Xxh3Stream(Xxh3Stream&&) noexcept;
  Xxh3Stream& operator=(Xxh3Stream&&) noexcept;

  void update(std::span<const std::byte> bytes);
  // Of all bytes so far.
  [[nodiscard]] std::uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What a manifest says of a file.
struct FileDigest {
  std::uint64_t bytes = 0;
  std::string xxh3 = {};  // to_hex
};
[[nodiscard]] FileDigest digest_of(std::string_view text);

// Streams the file; throws StorageError when it cannot be read.
[[nodiscard]] std::string xxh3_of_file(const std::filesystem::path& path);

}  // namespace switchyard
