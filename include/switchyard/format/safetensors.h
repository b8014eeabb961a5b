// safetensors: u64 header size | JSON header | tensor bytes. The header maps each name to dtype,
// shape and the [begin, end) of its bytes; "__metadata__" maps strings to strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"

namespace switchyard::format {

enum class ScalarType { kBool, kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64 };

[[nodiscard]] std::size_t bytes_per_element(ScalarType type);
// The format's own spelling: "F32", "BF16", ...
[[nodiscard]] const char* scalar_type_name(ScalarType type);

// One tensor of an opened file; row-major.
struct TensorView {
  ScalarType type = ScalarType::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // numel * bytes_per_element, inside the file's span
};

struct SafetensorsFile {
  std::map<std::string, TensorView> tensor;
  std::map<std::string, std::string> metadata;
};

// Largest header that is accepted.
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// Checks the whole header; the views point into `file`, which must outlive them. Throws DataError
// naming `name` and the tensor or offset: a header that is too large, is no JSON object, nests too
// deep or repeats a key; an unknown dtype; a negative or overflowing shape; bytes that overlap,
// leave holes, go past the end or disagree with dtype and shape.
[[nodiscard]] SafetensorsFile parse_safetensors(std::span<const std::byte> file,
                                                const std::string& name);

struct TensorInfo {
  std::string name;
  ScalarType type = ScalarType::kF32;
  std::vector<std::int64_t> shape;
};

// Writes a file piece by piece without holding it, and hashes what it writes; the file appears only
// on commit(). The tensor bytes begin at a multiple of 64 bytes.
class SafetensorsWriter {
 public:
  // `tensors` fixes the order in which append() must deliver them.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});

  // The next bytes of a row-major tensor, which may come in pieces; the tensor after it begins when
  // all of them are here (an empty one takes one call without bytes). The name is checked.
  void append(const std::string& name, std::span<const std::byte> bytes);
  // Size and hash of the bytes that were written; whether a disk kept them, only reading tells.
  // Throws StorageError; all tensors must have been delivered.
  [[nodiscard]] FileDigest commit();

 private:
  void write(std::span<const std::byte> bytes);

  AtomicFile file_;
  Xxh3Stream hash_;
  std::vector<TensorInfo> tensors_;
  std::size_t next_ = 0;
  std::uint64_t delivered_bytes_ = 0;  // of the next tensor
};

}  // namespace switchyard::format
