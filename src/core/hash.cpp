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
struct FreeState {
  void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
};

constexpr std::size_t kReadBytes = std::size_t{1} << 20;

}  // namespace

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
  const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  SWITCHYARD_CHECK(state != nullptr && XXH3_64bits_reset(state.get()) == XXH_OK,
                   "cannot start a hash of {}", path.string());
  std::vector<std::byte> buffer(kReadBytes);
  while (true) {
    const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (count == 0) break;
    XXH3_64bits_update(state.get(), buffer.data(), count);
  }
  if (std::ferror(file.get()) != 0) fail();
  return to_hex(XXH3_64bits_digest(state.get()));
}

}  // namespace switchyard
