#include "switchyard/core/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

constexpr std::size_t kReadBytes = std::size_t{1} << 20;

}  // namespace

struct Xxh3Stream::State {
  State() : xxhash(XXH3_createState()) {
    SWITCHYARD_CHECK(xxhash != nullptr && XXH3_64bits_reset(xxhash) == XXH_OK,
                     "cannot start a hash");
  }
  ~State() { XXH3_freeState(xxhash); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  XXH3_state_t* xxhash;
};

Xxh3Stream::Xxh3Stream() : state_(std::make_unique<State>()) {}
Xxh3Stream::~Xxh3Stream() = default;
Xxh3Stream::Xxh3Stream(Xxh3Stream&&) noexcept = default;
Xxh3Stream& Xxh3Stream::operator=(Xxh3Stream&&) noexcept = default;

void Xxh3Stream::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_->xxhash, bytes.data(), bytes.size());
}

std::uint64_t Xxh3Stream::digest() const {
  return XXH3_64bits_digest(state_->xxhash);
}

FileDigest digest_of(std::string_view text) {
  return {.bytes = text.size(), .xxh3 = to_hex(xxh3(text))};
}

std::uint64_t xxh3(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t xxh3(std::string_view text, std::uint64_t seed) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

std::string to_hex(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

std::string xxh3_of_file(const std::filesystem::path& path) {
  const auto fail = [&]() -> void {
    throw StorageError(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
  };
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (!file) fail();
  Xxh3Stream stream;
  std::vector<std::byte> buffer(kReadBytes);
  while (true) {
    const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (count == 0) break;
    stream.update(std::span(buffer).first(count));
  }
  if (std::ferror(file.get()) != 0) fail();
  return to_hex(stream.digest());
}

}  // namespace switchyard
