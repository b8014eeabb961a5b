// What the benchmark programs share: their flags, timing on the chosen device, and the bounds that
// everything is compared with in the same run.
//   --device=cpu|cuda  --dtype=bf16|fp32  --shapes=A,B,...  and Google Benchmark's own flags
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/core/text.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/device_time.h"

namespace switchyard::ops {

struct BenchmarkShape {
  const char* name;
  std::int64_t num_tokens;   // T
  std::int64_t hidden_size;  // H
  std::int64_t expert_size;  // F
  std::int64_t num_experts;  // E
  double k;                  // mean experts per token
};

// A: the size of Huang et al.'s model. B: fine-grained experts, as OLMoE has them. C: comparable
// with published figures. `small` is a block of tools/bench/compare_transformers.sh, for CPUs;
// `tiny` only tries whether everything runs.
inline constexpr BenchmarkShape kBenchmarkShapes[] = {{"A8192", 8192, 1024, 2816, 16, 1.76},
                                                      {"A16384", 16384, 1024, 2816, 16, 1.76},
                                                      {"A32768", 32768, 1024, 2816, 16, 1.76},
                                                      {"B", 32768, 2048, 1024, 64, 8.0},
                                                      {"C", 24576, 1536, 1024, 32, 2.0},
                                                      {"small", 2048, 512, 1408, 8, 1.76},
                                                      {"tiny", 64, 32, 48, 6, 1.76}};

struct BenchmarkOptions {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kBFloat16;
  std::vector<BenchmarkShape> shapes = {};

  [[nodiscard]] at::TensorOptions tensor(at::ScalarType type) const {
    return at::TensorOptions().device(device).dtype(type);
  }
  // Normal values: zeros would be faster on real hardware.
  [[nodiscard]] at::Tensor random(const std::vector<std::int64_t>& shape, double std = 1.0) const {
    return at::randn(shape, tensor(at::kFloat)).mul(std).to(dtype);
  }
};

// What one call moves and computes; what is 0 is not reported.
struct Work {
  double bytes = 0.0;
  double flops = 0.0;
};

inline void measure(benchmark::State& state, at::Device device, const Work& work,
                    const std::function<void()>& run) {
  const int num_calls = device.is_cpu() ? 1 : 20;  // so that a GPU's queue is never empty
  (void)device_seconds(device, run);               // sets up what a first call needs
  for (auto _ : state) {
    state.SetIterationTime(device_seconds(device, [&] {
      for (int call = 0; call < num_calls; ++call) run();
    }));
  }
  state.counters["calls"] = num_calls;  // that the time of an iteration is of
  const auto rate = [num_calls](double amount) {
    return benchmark::Counter(amount * num_calls, benchmark::Counter::kIsIterationInvariantRate);
  };
  if (work.bytes > 0.0) state.counters["bytes"] = rate(work.bytes);
  if (work.flops > 0.0) state.counters["flops"] = rate(work.flops);
}

inline benchmark::internal::Benchmark* add_benchmark(
    const std::string& name, const std::function<void(benchmark::State&)>& run) {
  return benchmark::RegisterBenchmark(name.c_str(), run)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

// `bound/copy` and `bound/matmul`: the most bytes and operations per second that one large copy and
// one large product reach here.
inline void add_bounds(const BenchmarkOptions& options) {
  bool is_tiny = true;
  for (const BenchmarkShape& shape : options.shapes) is_tiny &= shape.num_tokens < 1000;
  const std::int64_t scale = is_tiny ? 1 : options.device.is_cpu() ? 8 : 64;
  const std::int64_t size = 128 * scale;  // 1024 on a CPU, 8192 on a GPU
  const std::int64_t copied = options.device.is_cpu() ? 64 << 20 : 1 << 30;
  add_benchmark("bound/copy", [options, bytes = is_tiny ? 1 << 16 : copied](auto& state) {
    const at::Tensor from =
        options.random({bytes / static_cast<std::int64_t>(elementSize(options.dtype))});
    at::Tensor to = at::empty_like(from);
    measure(state, options.device, {.bytes = 2.0 * static_cast<double>(bytes)},
            [&] { to.copy_(from); });
  });
  add_benchmark("bound/matmul", [options, size](auto& state) {
    const at::Tensor a = options.random({size, size});
    const at::Tensor b = options.random({size, size});
    at::Tensor product = at::empty_like(a);
    const auto n = static_cast<double>(size);
    measure(state, options.device, {.flops = 2.0 * n * n * n}, [&] { at::mm_out(product, a, b); });
  });
}

// Returns false, having said so, for a flag or value that nobody knows.
inline bool read_flags(int argc, char** argv, BenchmarkOptions* options) {
  const auto value_of = [](std::string_view argument, std::string_view flag) {
    return argument.starts_with(flag) ? argument.substr(flag.size()) : std::string_view();
  };
  std::string shapes = "small";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (const auto device = value_of(argument, "--device="); device == "cpu" || device == "cuda") {
      options->device = at::Device(std::string(device));
    } else if (const auto dtype = value_of(argument, "--dtype=");
               dtype == "bf16" || dtype == "fp32") {
      options->dtype = dtype == "bf16" ? at::kBFloat16 : at::kFloat;
    } else if (const auto names = value_of(argument, "--shapes="); !names.empty()) {
      shapes = names;
    } else {
      std::cerr << "unknown argument " << argument
                << " (known: --device=cpu|cuda --dtype=bf16|fp32 --shapes=NAME,... "
                   "--benchmark_...)\n";
      return false;
    }
  }
  for (const std::string_view name : split(shapes, ",")) {
    const auto* known = std::find_if(std::begin(kBenchmarkShapes), std::end(kBenchmarkShapes),
                                     [&name](const auto& shape) { return name == shape.name; });
    if (known == std::end(kBenchmarkShapes)) {
      std::cerr << "unknown shape '" << name << "'\n";
      return false;
    }
    options->shapes.push_back(*known);
  }
  return true;
}

// The main() of a benchmark program; `add` registers its benchmarks.
inline int run_benchmarks(int argc, char** argv,
                          const std::function<void(const BenchmarkOptions&)>& add) {
  benchmark::Initialize(&argc, argv);
  install_parallel_backend();
  BenchmarkOptions options;
  if (!read_flags(argc, argv, &options)) return 2;
  const at::NoGradGuard no_grad;
  add_bounds(options);
  add(options);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace switchyard::ops
