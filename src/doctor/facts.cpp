#include "switchyard/doctor/facts.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/remainder.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "switchyard/ops/device.h"
#include "switchyard/ops/peak_flops.h"

namespace switchyard::doctor {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCpuArchitecture = SWITCHYARD_CPU_ARCH;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::map<std::string, std::string> relevant_environment() {
  std::map<std::string, std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = std::min(text.find('='), text.size());
    const std::string_view name = text.substr(0, equals);
    bool relevant = name == "CUDA_VISIBLE_DEVICES";
    for (const char* prefix : {"OMP_", "GOMP_", "KMP_", "MKL_"}) {
      relevant = relevant || name.starts_with(prefix);
    }
    if (relevant) result.emplace(name, text.substr(std::min(equals + 1, text.size())));
  }
  return result;
}

// The folder, or the nearest one above it that exists.
fs::path existing(fs::path path) {
  std::error_code error;
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  return path;
}

std::optional<std::uint64_t> free_bytes(const fs::path& path) {
  std::error_code error;
  const fs::space_info space = fs::space(path, error);
  if (error) return std::nullopt;
  return space.available;
}

FolderFacts folder_facts(std::string purpose, const fs::path& path) {
  const fs::path there = existing(path);
  return {.purpose = std::move(purpose),
          .path = path,
          .free_bytes = free_bytes(there),
          .writable = ::access(there.c_str(), W_OK) == 0};
}

fs::path cache_folder() {
  if (const std::string cache = variable("SWITCHYARD_CACHE"); !cache.empty()) return cache;
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) {
    return fs::path(cache) / "switchyard";
  }
  return fs::path(variable("HOME")) / ".cache" / "switchyard";
}

std::string nccl_version() {
  // LibTorch's CUDA library brings NCCL into the process; nothing is loaded for the question.
  using GetVersion = int (*)(int*);
  auto* const get_version = reinterpret_cast<GetVersion>(::dlsym(RTLD_DEFAULT, "ncclGetVersion"));
  int version = 0;
  if (get_version == nullptr || get_version(&version) != 0) return {};
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string cuda_version(long version) {
  return fmt::format("{}.{}", version / 1000, version / 10 % 100);
}

// "Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build ..." without what nobody needs.
std::string before(const std::string& text, std::string_view mark) {
  return text.substr(0, text.find(mark));
}

bool product_is_right(at::ScalarType dtype) {
  const at::Tensor a = at::remainder(at::arange(96 * 96, at::kLong), 7).view({96, 96}).to(dtype);
  const at::Tensor twice = at::eye(96, at::TensorOptions().dtype(dtype)).mul(2);
  return at::equal(at::mm(a, twice), a.mul(2));
}

EngineFacts engine_facts() {
  const at::NoGradGuard no_grad;
  EngineFacts facts;
  facts.torch_version = TORCH_VERSION;
  facts.linear_algebra =
      fmt::format("{}; {}; {}", before(at::get_mkl_version(), "-Product"),
                  before(at::get_mkldnn_version(), " (Git"), at::get_cpu_capability());
  facts.num_threads = at::get_num_threads();
  facts.cpu_architecture = kCpuArchitecture;
  facts.built_with_cuda = ops::built_with_cuda();
  if (facts.built_with_cuda) {
    facts.cuda_runtime = cuda_version(at::Context::versionCUDART());
    facts.num_usable_gpus = at::hasCUDA() ? static_cast<int>(at::getNumGPUs()) : 0;
    if (facts.num_usable_gpus > 0) facts.gpu = ops::gpu_facts({c10::kCUDA, 0});
  }
  facts.nccl_version = nccl_version();
  facts.products_are_right = product_is_right(at::kFloat) && product_is_right(at::kBFloat16);
  facts.fp32_flops = ops::measure_peak_flops(at::kFloat);
  facts.bf16_flops = ops::measure_peak_flops(at::kBFloat16);
  return facts;
}

}  // namespace

DoctorFacts gather_doctor_facts() {
  DoctorFacts facts;
  facts.host = read_host_facts();
  facts.engine = engine_facts();
  std::error_code error;
  facts.folders = {folder_facts("cache", cache_folder()),
                   folder_facts("current folder", fs::current_path(error))};
  facts.shared_memory_bytes = free_bytes("/dev/shm");
  facts.environment = relevant_environment();
  const std::string cuda_home = variable("CUDA_HOME");
  const std::string path = variable("PATH") + ":" + (cuda_home.empty() ? "" : cuda_home + "/bin:") +
                           "/usr/local/cuda/bin";
  for (const char* name : {"mpirun", "nvcc"}) {
    if (const auto found = find_program(name, path)) facts.program[name] = found->string();
  }
  return facts;
}

}  // namespace switchyard::doctor
