// safetensors, twice: the input as the whole file, and as a header (up to the first NUL) with the
// tensor bytes behind it, so that mutations need not keep the size field right.
#include "switchyard/format/safetensors.h"

#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"

namespace {

using switchyard::fuzz::require;

void read(std::span<const std::byte> file) {
  namespace format = switchyard::format;
  (void)switchyard::fuzz::reads([file] {
    const format::SafetensorsFile parsed = format::parse_safetensors(file, "x.safetensors");
    std::size_t covered = 0;
    unsigned sum = 0;
    for (const auto& [name, view] : parsed.tensor) {
      std::size_t bytes = format::bytes_per_element(view.type);
      for (const std::int64_t extent : view.shape) bytes *= static_cast<std::size_t>(extent);
      require(bytes == view.bytes.size(), "a tensor has the bytes of its shape");
      covered += bytes;
      for (const std::byte byte : view.bytes) sum += std::to_integer<unsigned>(byte);
    }
    require(covered <= file.size() && (sum > 0 || covered < SIZE_MAX), "tensors lie in the file");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = switchyard::fuzz::as_text(data, size);
  read(switchyard::fuzz::as_bytes(input));
  const std::size_t end = std::min(input.find('\0'), input.size());
  std::vector<std::byte> file(sizeof(std::uint64_t));
  for (std::size_t i = 0; i < sizeof(std::uint64_t); ++i) {
    file[i] = static_cast<std::byte>(static_cast<std::uint64_t>(end) >> (8 * i));
  }
  const auto header = switchyard::fuzz::as_bytes(input.substr(0, end));
  const auto tensors = switchyard::fuzz::as_bytes(input.substr(std::min(end + 1, input.size())));
  file.insert(file.end(), header.begin(), header.end());
  file.insert(file.end(), tensors.begin(), tensors.end());
  file.shrink_to_fit();
  read(file);
  return 0;
}
