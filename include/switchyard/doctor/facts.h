// What `switchyard doctor` judges.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/core/host.h"
#include "switchyard/ops/gpu_facts.h"

namespace switchyard::doctor {

// What LibTorch and this build of the engine say.
struct EngineFacts {
  std::string torch_version{};
  std::string linear_algebra{};    // "MKL ..., oneDNN v3.7.1"
  int num_threads = 0;             // in LibTorch's pool
  std::string cpu_architecture{};  // -march= of the CPU kernels; empty = the compiler's default
  bool built_with_cuda = false;
  int num_usable_gpus = 0;
  std::optional<ops::GpuFacts> gpu{};  // the first usable one
  std::string cuda_runtime{};          // "13.0"; empty without one
  std::string nccl_version{};          // "2.28.9"; empty without one
  // Operations per second of a matrix product, and whether a small product was right.
  double fp32_flops = 0.0;
  double bf16_flops = 0.0;
  bool products_are_right = true;
};

struct FolderFacts {
  std::string purpose;  // "cache", "current folder"
  std::filesystem::path path;
  std::optional<std::uint64_t> free_bytes;  // none: cannot be told
  bool writable = false;
};

struct DoctorFacts {
  HostFacts host;
  EngineFacts engine;
  std::vector<FolderFacts> folders;
  std::optional<std::uint64_t> shared_memory_bytes;  // free in /dev/shm
  std::map<std::string, std::string> environment;    // OMP_*, CUDA_VISIBLE_DEVICES, ...
  std::map<std::string, std::string> program;        // path by name: mpirun, nvcc
};

// Of this machine. Takes about a second: products of matrices are timed.
[[nodiscard]] DoctorFacts gather_doctor_facts();

}  // namespace switchyard::doctor
