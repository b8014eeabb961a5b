// Who writes which tensors of a checkpoint into which file.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/core/hash.h"

namespace switchyard::checkpoint {

struct NamedTensor {
  // Elements `begin` and on of the flattened tensor that `name` is, which has `total`.
  struct Piece {
    std::int64_t begin = 0;
    std::int64_t total = 0;
  };
  std::string name;
  at::Tensor tensor;                // fp32 or fp64, any device and strides
  std::optional<Piece> piece = {};  // none: all of it
};

// What a checkpoint holds, by kind.
struct CheckpointTensors {
  std::vector<NamedTensor> weights = {};       // e.g. model.layers.3.moe.experts.5.up_proj.weight
  std::vector<NamedTensor> router_state = {};  // e.g. model.layers.3.moe.router.importance_mean
  std::vector<NamedTensor> optimizer = {};     // e.g. model.norm.weight.exp_avg
};

// One safetensors file.
struct PlannedFile {
  std::string name;                     // in the checkpoint's folder
  int writer = 0;                       // the rank that holds the parts and writes them
  std::vector<NamedTensor> parts = {};  // in the order in which the file has them
  std::map<std::string, std::string> metadata = {};
};

using WritePlan = std::vector<PlannedFile>;

// One writer, and one file of each kind that has tensors (of weights always).
[[nodiscard]] WritePlan one_file_per_kind(CheckpointTensors tensors);
// How many ranks, from 0 on, write each kind.
struct NumWriters {
  int weights = 1;
  int optimizer = 1;
};
// Of several writers, the files of one, who holds `tensors`: model-00002-of-00004.safetensors for
// writer 1 of 4. Every one of so many writers has a file of the kind, empty or not; router state is
// the first's.
[[nodiscard]] WritePlan files_of_writer(CheckpointTensors tensors, int writer, NumWriters num);
[[nodiscard]] std::uint64_t bytes_of(const WritePlan& plan);
// The same files out of copies of the tensors in host memory, which is bytes_of(plan) more.
[[nodiscard]] WritePlan copied_to_host(const WritePlan& plan);

// Writes the files of one writer into `folder`; returns what the manifest is to say of each, by
// name: the hashes are of the bytes as they were handed to the system, so that the files, which are
// read back, are compared with memory. What is on a device comes through a buffer of kStagingBytes
// (tensor_files.h); a tensor that is not contiguous is copied as a whole. Throws StorageError; also
// soon after `given_up` has become true.
[[nodiscard]] std::map<std::string, FileDigest> write_files_of(
    int writer, const WritePlan& plan, const std::filesystem::path& folder,
    const std::atomic<bool>* given_up = nullptr);

}  // namespace switchyard::checkpoint
