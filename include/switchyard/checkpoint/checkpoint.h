// A checkpoint is a folder of plain files that together suffice to evaluate, generate or fine-tune:
// weights and router state as safetensors by global name, the tokenizer, the resolved config, and
// manifest.json, written last, with every file's size and checksum. Nothing in it can run code.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace switchyard::checkpoint {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;  // on the CPU, fp32 or fp64, any strides
};

struct SaveRequest {
  std::int64_t step = 0;
  std::vector<NamedTensor> weights = {};       // e.g. model.layers.3.moe.experts.5.up_proj.weight
  std::vector<NamedTensor> router_state = {};  // e.g. model.layers.3.moe.router.importance_mean
  std::string tokenizer_file = {};             // its name in the folder
  std::string tokenizer_bytes = {};
  std::string resolved_config = {};  // YAML
  std::map<std::string, std::string> environment = {};
};

// Writes `checkpoints`/step-000500 under a temporary name, reads it back against its checksums,
// gives it its name and then points `checkpoints`/LATEST at it. Returns the folder. Throws
// StorageError (also when that step is there already); older checkpoints and LATEST are untouched
// then. What a killed save left behind is removed first.
std::filesystem::path save(const std::filesystem::path& checkpoints, const SaveRequest& request);

class Checkpoint {
 public:
  // `path`: a run folder, its checkpoints folder (both: the one LATEST names, without LATEST the
  // newest finished one) or one step's folder.
  // Every file is verified. Throws DataError naming the file that is missing or damaged.
  [[nodiscard]] static Checkpoint open(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] std::int64_t step() const { return step_; }
  [[nodiscard]] std::filesystem::path tokenizer() const { return folder_ / tokenizer_file_; }
  [[nodiscard]] std::filesystem::path config() const;
  // Copies by name. Throws DataError for a broken file.
  [[nodiscard]] std::map<std::string, at::Tensor> weights() const;
  [[nodiscard]] std::map<std::string, at::Tensor> router_state() const;

 private:
  std::filesystem::path folder_;
  std::int64_t step_ = 0;
  std::string tokenizer_file_;
  bool has_router_state_ = false;
};

}  // namespace switchyard::checkpoint
