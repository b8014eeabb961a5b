#include "train/environment.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <cstdlib>

#include "switchyard/core/version.h"
#include "switchyard/format/json.h"
#include "switchyard/train/build.h"
#include "switchyard/train/device.h"
#include "switchyard/train/machine.h"

namespace switchyard::train {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Environment measure_environment(const config::Config& config) {
  Environment environment;
  const at::Device device = device_of(config.train.device);
  environment.peak_flops =
      measure_peak_flops(precision_policy(config.train.precision).compute, device);
  environment.facts = {
      {"switchyard", kVersion},
      {"libtorch", TORCH_VERSION},
      {"compiler", std::string("g++ ") + __VERSION__},
      {"device", device.str()},
      {"cpu", cpu_model()},
      {"available_cores", fmt::format("{}", num_available_cores())},
      {"threads", fmt::format("{}", at::get_num_threads())},
      {"omp_wait_policy", variable("OMP_WAIT_POLICY")},
      {"gomp_spincount", variable("GOMP_SPINCOUNT")},
      {"precision", config.train.precision},
  };
  return environment;
}

std::string Environment::to_json() const {
  format::Json json;
  for (const auto& [name, value] : facts) json[name] = value;
  json["peak_flops"] = peak_flops;
  return json.dump(2) + "\n";
}

}  // namespace switchyard::train
