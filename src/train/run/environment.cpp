#include "train/run/environment.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <charconv>
#include <cstdlib>
#include <exception>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/host.h"
#include "switchyard/core/log.h"
#include "switchyard/core/version.h"
#include "switchyard/format/json.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/gpu_facts.h"
#include "switchyard/ops/out_of_memory.h"
#include "switchyard/ops/peak_flops.h"
#include "switchyard/train/build.h"

namespace switchyard::train {
namespace {

constexpr const char* kFileName = "environment.json";
constexpr const char* kRanks = "ranks";
constexpr const char* kMicroStep = "micro_step";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Beside training: where there is no room for it, the share of the peak stays unknown, and what it
// takes is no memory of the run's.
ops::PeakFlops measure_peak(at::ScalarType dtype, at::Device device) {
  ops::PeakFlops peak;
  try {
    peak = ops::peak_flops(dtype, device);
  } catch (const std::exception& error) {
    if (!ops::is_out_of_memory(error)) throw;
    log::warning("what {} can do at best is not measured, there is no room: {}", device.str(),
                 ops::short_message(error));
  }
  ops::forget_peak_memory(device);
  return peak;
}

}  // namespace

Environment measure_environment(const config::Config& config, std::int64_t num_ranks,
                                bool measures_peak) {
  Environment environment;
  const at::Device device = ops::device_of(config.train.device);
  ops::PeakFlops peak;
  if (measures_peak) {
    const at::ScalarType compute = ops::precision_policy(config.train.precision).compute;
    peak = measure_peak(compute, device);
    if (device.is_cpu() && compute == at::kBFloat16) {
      environment.fp32_peak_flops =
          static_cast<double>(num_ranks) * measure_peak(at::kFloat, device).measured;
    }
  }
  environment.peak_flops = static_cast<double>(num_ranks) * peak.per_second;
  environment.measured_peak_flops = static_cast<double>(num_ranks) * peak.measured;
  environment.peak_is_of_data_sheet = peak.is_of_data_sheet;
  environment.micro_step = num_ranks * config.train.micro_batch_size;
  const HostFacts host = read_host_facts();
  environment.facts = {
      {"switchyard", kVersion},
      {"libtorch", TORCH_VERSION},
      {"compiler", "g++ " __VERSION__},
      {"device", device.str()},
      {"cpu", host.cpu_model.empty() ? "unknown" : host.cpu_model},
      {"available_cores", fmt::format("{}", host.num_available_cores())},
      {"threads", fmt::format("{}", at::get_num_threads())},
      {"omp_wait_policy", variable("OMP_WAIT_POLICY")},
      {"gomp_spincount", variable("GOMP_SPINCOUNT")},
      {"precision", config.train.precision},
      {kRanks, fmt::format("{}x{}", num_ranks, config.parallel.expert)},
      {"peak_flops_source", peak.source},
  };
  if (const auto gpu = ops::gpu_facts(device)) {
    environment.facts["gpu"] =
        fmt::format("{}, compute capability {}.{}, {} multiprocessors", gpu->name, gpu->major,
                    gpu->minor, gpu->num_multiprocessors);
  }
  return environment;
}

std::optional<std::int64_t> num_ranks_in(std::string_view ranks) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(ranks.data(), ranks.data() + ranks.size(), number);
  const bool is_layout = error == std::errc() && end != ranks.data() + ranks.size() && *end == 'x';
  return is_layout && number > 0 ? std::optional(number) : std::nullopt;
}

std::optional<std::int64_t> num_ranks_of(const std::filesystem::path& run) {
  const std::filesystem::path file = run / kFileName;
  try {
    return num_ranks_in(
        format::json_string(format::parse_json(read_file(file), file.string()), kRanks, kFileName));
  } catch (const Error&) {  // not there, damaged, or of a version that did not note it
    return std::nullopt;
  }
}

std::optional<std::int64_t> micro_step_of(const std::filesystem::path& run) {
  const std::filesystem::path file = run / kFileName;
  try {
    return format::json_integer(format::parse_json(read_file(file), file.string()), kMicroStep,
                                kFileName);
  } catch (const Error&) {  // as above
    return std::nullopt;
  }
}

std::string Environment::to_json() const {
  format::Json json;
  for (const auto& [name, value] : facts) json[name] = value;
  json["peak_flops"] = peak_flops;
  json["measured_peak_flops"] = measured_peak_flops;
  json[kMicroStep] = micro_step;
  return format::json_text(json, 2) + "\n";
}

}  // namespace switchyard::train
