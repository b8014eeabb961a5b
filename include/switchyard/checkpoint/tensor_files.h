// Tensors by global name out of safetensors files, straight to where they are needed: the caller
// names parts and the memory they go to; the files are looked through, compared with what is wanted
// as a whole, and only then streamed in pieces of kStagingBytes. There is never a second copy of a
// model in memory, on the host or beside a device.
//
// This is the one interface for everybody who reads weights or moments: a checkpoint of one file or
// of several; a rank that loads its slice of each tensor (`range`); fine-tuning from a trunk, whose
// head is missing or another one (read_subset); foreign checkpoints, whose reader names the targets
// as the foreign files do and which may be bf16 or fp16. A new kind of reader makes other targets;
// it does not read files in another way.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/core/mapped_file.h"
#include "switchyard/format/safetensors.h"

namespace switchyard::checkpoint {

// The most host memory that reading or writing takes beside the tensors themselves.
inline constexpr std::size_t kStagingBytes = std::size_t{4} << 20;

// Elements [begin, begin + numel) of a flattened row-major tensor.
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t numel = 0;
};

// A tensor that is wanted, and where it goes.
struct TensorTarget {
  std::string name;                 // as the files call it
  std::vector<std::int64_t> shape;  // of the whole tensor, which the files must agree with
  // Contiguous, on any device, fp32, fp64 or bf16; as many elements as the tensor, or as `range`.
  // Elements of another type are converted as Tensor::copy_ does.
  at::Tensor destination;
  std::optional<ElementRange> range = std::nullopt;
};

// Names that only one side has, sorted.
struct UnmatchedNames {
  std::vector<std::string> missing = {};  // wanted, in no file: the destination is untouched
  std::vector<std::string> unknown = {};  // in a file, not wanted: not read
};

// The tensors of several safetensors files that together are one set.
class TensorFiles {
 public:
  // Reads headers only. `source` names the set in errors, such as the checkpoint's folder. No
  // files: the empty set. What ranks wrote in pieces is one tensor again, of one dimension. Throws
  // DataError for a broken file, a name that two files hold, or pieces that do not make a whole,
  // StorageError when a file cannot be mapped.
  TensorFiles(std::string source, const std::vector<std::filesystem::path>& files);

  [[nodiscard]] const std::string& source() const { return source_; }
  // All of them, by name.
  [[nodiscard]] std::vector<format::TensorInfo> tensors() const;

  // Fills every target. Throws one DataError, before anything is written, that tells the missing,
  // the unknown and those of another shape (the first few names of each and how many), or a tensor
  // whose type is no F32, F64, BF16 or F16. What `is_elsewhere` says of is read by others.
  void read_exactly(const std::vector<TensorTarget>& targets,
                    const std::function<bool(const std::string& name)>& is_elsewhere = {}) const;
  // The same for what both sides know. Another shape or type is an error here too.
  [[nodiscard]] UnmatchedNames read_subset(const std::vector<TensorTarget>& targets) const;
  // Copies of all tensors, for small sets such as router state; F16 as fp32, else as they are.
  [[nodiscard]] std::map<std::string, at::Tensor> copies() const;

 private:
  struct Piece {
    std::size_t file_idx = 0;
    format::TensorView view;
    ElementRange range;  // of the flattened tensor
  };
  struct Stored {
    std::vector<std::int64_t> shape;
    bool is_in_pieces = false;  // the shape is then [number of elements]
    std::vector<Piece> pieces;  // in order, one behind the other
    [[nodiscard]] format::ScalarType type() const { return pieces.front().view.type; }
    [[nodiscard]] bool has_shape(const std::vector<std::int64_t>& wanted) const;
  };
  void add(const std::string& name, std::size_t file_idx, format::TensorView view);
  void check_pieces();
  [[nodiscard]] UnmatchedNames unmatched(const std::vector<TensorTarget>& targets) const;
  [[nodiscard]] std::vector<std::string> wrong_shapes(
      const std::vector<TensorTarget>& targets) const;
  void check_type(const std::string& name) const;
  // What is in a file; the others are passed over.
  void fill(const std::vector<TensorTarget>& targets) const;
  // Elements `range` of the tensor, which lie in the piece, to `destination`, which has as many.
  void copy(const Piece& piece, ElementRange range, const at::Tensor& destination,
            at::Tensor& staging) const;

  std::string source_;
  std::vector<std::filesystem::path> paths_;
  std::vector<MappedFile> mapped_;  // as paths_
  std::map<std::string, Stored> stored_;
};

}  // namespace switchyard::checkpoint
