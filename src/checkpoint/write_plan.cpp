#include "switchyard/checkpoint/write_plan.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "checkpoint/manifest.h"
#include "checkpoint/piece_name.h"
#include "switchyard/checkpoint/tensor_files.h"
#include "switchyard/core/error.h"
#include "switchyard/format/safetensors.h"

namespace switchyard::checkpoint {
namespace {

format::ScalarType file_type(const NamedTensor& named) {
  switch (named.tensor.scalar_type()) {
    case at::kFloat:
      return format::ScalarType::kF32;
    case at::kDouble:
      return format::ScalarType::kF64;
    default:
      throw InternalError(fmt::format("a checkpoint holds fp32 and fp64, but {} is {}", named.name,
                                      at::toString(named.tensor.scalar_type())));
  }
}

std::span<const std::byte> bytes_of_host(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::string name_in_file(const NamedTensor& named) {
  if (!named.piece) return named.name;
  return to_string({.name = named.name,
                    .range = {.begin = named.piece->begin, .numel = named.tensor.numel()},
                    .total = named.piece->total});
}

void append(format::SafetensorsWriter& writer, const NamedTensor& named) {
  const at::Tensor flat = named.tensor.detach().contiguous().view({-1});
  if (flat.is_cpu() || flat.numel() == 0) {
    writer.append(name_in_file(named), bytes_of_host(flat));
    return;
  }
  const auto piece_numel = static_cast<std::int64_t>(kStagingBytes / flat.element_size());
  const at::Tensor staging = at::empty({std::min(piece_numel, flat.numel())},
                                       at::TensorOptions().dtype(flat.scalar_type()));
  for (std::int64_t done = 0; done < flat.numel(); done += piece_numel) {
    const std::int64_t count = std::min(piece_numel, flat.numel() - done);
    const at::Tensor piece = staging.narrow(0, 0, count);
    piece.copy_(flat.narrow(0, done, count));
    writer.append(name_in_file(named), bytes_of_host(piece));
  }
}

void check_not_given_up(const std::atomic<bool>* given_up) {
  if (given_up != nullptr && *given_up) throw StorageError("the checkpoint was given up");
}

FileDigest write(const PlannedFile& file, const std::filesystem::path& folder,
                 const std::atomic<bool>* given_up) {
  std::vector<format::TensorInfo> infos;
  infos.reserve(file.parts.size());
  for (const NamedTensor& named : file.parts) {
    infos.push_back({.name = name_in_file(named),
                     .type = file_type(named),
                     .shape = named.tensor.sizes().vec()});
  }
  format::SafetensorsWriter writer(folder / file.name, std::move(infos), file.metadata);
  for (const NamedTensor& named : file.parts) {
    check_not_given_up(given_up);
    append(writer, named);
  }
  return writer.commit();
}

}  // namespace

WritePlan one_file_per_kind(CheckpointTensors tensors) {
  const bool has_optimizer = !tensors.optimizer.empty();
  return files_of_writer(std::move(tensors), 0, {.weights = 1, .optimizer = has_optimizer ? 1 : 0});
}

WritePlan files_of_writer(CheckpointTensors tensors, int writer, NumWriters num) {
  const auto name = [&](const char* kind, int num_writers) {
    return num_writers == 1 ? std::string(kind) : shard_name(kind, writer + 1, num_writers);
  };
  WritePlan plan;
  if (writer < num.weights) {
    plan.push_back({.name = name(kWeights, num.weights),
                    .writer = writer,
                    .parts = std::move(tensors.weights),
                    .metadata = {{"format", "pt"}}});
  }
  if (!tensors.router_state.empty()) {
    SWITCHYARD_CHECK(writer == 0, "writer {} holds router state", writer);
    plan.push_back({.name = kRouterState, .parts = std::move(tensors.router_state)});
  }
  if (writer < num.optimizer) {
    plan.push_back({.name = name(kOptimizer, num.optimizer),
                    .writer = writer,
                    .parts = std::move(tensors.optimizer)});
  }
  return plan;
}

std::uint64_t bytes_of(const WritePlan& plan) {
  std::uint64_t bytes = 0;
  for (const PlannedFile& file : plan) {
    for (const NamedTensor& part : file.parts) bytes += part.tensor.nbytes();
  }
  return bytes;
}

WritePlan copied_to_host(const WritePlan& plan) {
  WritePlan copied = plan;
  for (PlannedFile& file : copied) {
    for (NamedTensor& named : file.parts) {
      const at::Tensor copy =
          at::empty(named.tensor.sizes(), at::TensorOptions().dtype(named.tensor.scalar_type()));
      copy.copy_(named.tensor.detach());
      named.tensor = copy;
    }
  }
  return copied;
}

std::map<std::string, FileDigest> write_files_of(int writer, const WritePlan& plan,
                                                 const std::filesystem::path& folder,
                                                 const std::atomic<bool>* given_up) {
  std::map<std::string, FileDigest> written;
  for (const PlannedFile& file : plan) {
    if (file.writer != writer) continue;
    SWITCHYARD_CHECK(!written.contains(file.name), "{} is planned twice", file.name);
    const auto [entry, is_new] = written.emplace(file.name, write(file, folder, given_up));
    check_not_given_up(given_up);
    check_reads_back(folder / file.name, entry->second);
  }
  return written;
}

}  // namespace switchyard::checkpoint
