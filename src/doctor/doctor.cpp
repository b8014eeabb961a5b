#include "switchyard/doctor/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

#include "switchyard/core/exit_code.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::doctor {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30U;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
constexpr double kWorthwhileSpeedup = 1.2;

std::string variable(const DoctorFacts& facts, const std::string& name) {
  const auto found = facts.environment.find(name);
  return found == facts.environment.end() ? std::string() : found->second;
}

// Flags (as the kernel spells them) that an instruction set level stands for, beyond the last.
std::vector<std::string> flags_of_architecture(std::string_view architecture) {
  std::vector<std::string> flags;
  if (architecture == "x86-64-v3" || architecture == "x86-64-v4") {
    flags = {"avx2", "fma", "bmi2", "f16c", "movbe"};
  }
  if (architecture == "x86-64-v4") {
    flags.insert(flags.end(), {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"});
  }
  return flags;
}

DoctorLine check_cpu(const DoctorFacts& facts) {
  const HostFacts& host = facts.host;
  std::vector<std::string> present;
  for (const char* flag : {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"}) {
    if (host.has_flag(flag)) present.emplace_back(flag);
  }
  DoctorLine line{.topic = "cpu"};
  line.finding = fmt::format("{}: {}", host.cpu_model.empty() ? "unknown" : host.cpu_model,
                             present.empty() ? "no vector extensions" : join(present, " "));
  if (host.cpu_flags.empty()) {
    line.verdict = Verdict::kNote;
    line.finding = fmt::format("{}: the kernel does not tell its instructions",
                               host.cpu_model.empty() ? "unknown" : host.cpu_model);
    return line;
  }
  std::vector<std::string> missing;
  for (const std::string& flag : flags_of_architecture(facts.engine.cpu_architecture)) {
    if (!host.has_flag(flag)) missing.push_back(flag);
  }
  if (!missing.empty()) {
    line.verdict = Verdict::kFailure;
    line.finding += fmt::format("; built for {}, but this CPU lacks {}",
                                facts.engine.cpu_architecture, join(missing, " "));
    line.advice = "configure with -DSWITCHYARD_CPU_ARCH=x86-64-v2 (or native) and build again";
    line.exit_code = kExitUsage;
  }
  return line;
}

DoctorLine check_threads(const DoctorFacts& facts) {
  const HostFacts& host = facts.host;
  const int usable = host.num_available_cores();
  DoctorLine line{.topic = "threads"};
  line.finding = fmt::format(
      "{}, {}, {}; {} usable{}; LibTorch uses {}", counted(host.num_sockets, "socket"),
      counted(host.num_cores, "core"), counted(host.num_threads, "hardware thread"), usable,
      host.cpu_quota ? fmt::format(" (cgroup limit {:.4g})", *host.cpu_quota) : std::string(),
      facts.engine.num_threads);
  if (facts.engine.num_threads > usable) {
    line.verdict = Verdict::kWarning;
    line.advice = fmt::format(
        "threads that share a core wait for each other: unset OMP_NUM_THREADS or set it to {}",
        usable);
  } else if (facts.engine.num_threads < usable && !variable(facts, "OMP_NUM_THREADS").empty()) {
    line.verdict = Verdict::kNote;
    line.advice =
        fmt::format("OMP_NUM_THREADS={} leaves some idle", variable(facts, "OMP_NUM_THREADS"));
  }
  return line;
}

DoctorLine check_openmp(const DoctorFacts& facts) {
  const std::string policy = variable(facts, "OMP_WAIT_POLICY");
  std::vector<std::string> settings;
  for (const auto& [name, value] : facts.environment) {
    if (name.starts_with("OMP_") || name.starts_with("GOMP_") || name.starts_with("KMP_")) {
      settings.push_back(name + "=" + printable(value));
    }
  }
  DoctorLine line{.topic = "openmp"};
  line.finding = settings.empty() ? "no settings: how threads wait follows the load of the machine"
                                  : join(settings, " ");
  std::string folded = policy;
  std::transform(folded.begin(), folded.end(), folded.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  const std::string rounds = variable(facts, "GOMP_SPINCOUNT");
  const bool spins_briefly =
      !rounds.empty() && rounds.size() <= 5 &&  // a number below 100,000
      std::all_of(rounds.begin(), rounds.end(), [](char c) { return c >= '0' && c <= '9'; });
  const bool sleeps = folded.empty() || folded == "PASSIVE";
  if (rounds.empty() ? !sleeps : !spins_briefly) {
    line.verdict = Verdict::kWarning;
    line.advice =
        "waiting threads spin for long, which slows every step while anything else runs: "
        "unset OMP_WAIT_POLICY and GOMP_SPINCOUNT, and `switchyard` chooses while it runs";
  }
  return line;
}

DoctorLine check_memory(const DoctorFacts& facts) {
  const HostFacts& host = facts.host;
  std::uint64_t usable = host.available_memory_bytes;
  std::string limit;
  if (host.memory_limit_bytes) {
    usable = std::min(usable, *host.memory_limit_bytes);
    limit = fmt::format(", cgroup limit {}", format_bytes(*host.memory_limit_bytes));
  }
  DoctorLine line{.topic = "memory"};
  line.finding = fmt::format("{} available of {}{}", format_bytes(host.available_memory_bytes),
                             format_bytes(host.memory_bytes), limit);
  if (host.memory_bytes == 0) {
    line.verdict = Verdict::kNote;
    line.finding = "the kernel does not tell";
  } else if (usable < 2 * kGiB) {
    line.verdict = Verdict::kWarning;
    line.advice =
        "small models only: each parameter takes 16 bytes in training, and activations come on "
        "top; a smaller train.micro_batch_size needs less";
  }
  return line;
}

DoctorLine check_folder(const FolderFacts& folder) {
  DoctorLine line{.topic = folder.purpose};
  line.finding = fmt::format(
      "{}: {}{}", printable(folder.path.string(), 200),
      folder.free_bytes ? format_bytes(*folder.free_bytes) + " free" : "free space unknown",
      folder.writable ? "" : ", not writable");
  if (!folder.writable) {
    line.verdict = Verdict::kNote;
    line.advice = folder.purpose == "cache" ? "set SWITCHYARD_CACHE to a folder that is"
                                            : "set run.dir to a folder that is";
  } else if (folder.free_bytes && *folder.free_bytes < 5 * kGiB) {
    line.verdict = Verdict::kWarning;
    line.advice =
        "a checkpoint takes 4 to 12 bytes per parameter, and a new one is written before an old "
        "one goes (train.keep_last)";
  }
  return line;
}

DoctorLine check_limits(const DoctorFacts& facts) {
  const HostFacts& host = facts.host;
  const auto shown = [](const std::optional<std::uint64_t>& limit, bool bytes) {
    if (!limit) return std::string("unknown");
    if (*limit == kUnlimited) return std::string("unlimited");
    return bytes ? format_bytes(*limit) : fmt::format("{}", *limit);
  };
  DoctorLine line{.topic = "limits"};
  line.finding = fmt::format(
      "open files {}, locked memory {}, /dev/shm {}", shown(host.open_files_limit, false),
      shown(host.locked_memory_limit_bytes, true), shown(facts.shared_memory_bytes, true));
  const bool several_gpus = host.nvidia_gpus.size() > 1;
  if (host.open_files_limit && *host.open_files_limit < 1024) {
    line.verdict = Verdict::kWarning;
    line.advice = "ulimit -n 65536";
  } else if (several_gpus && host.locked_memory_limit_bytes &&
             *host.locked_memory_limit_bytes < kGiB) {
    line.verdict = Verdict::kWarning;
    line.advice = "InfiniBand needs ulimit -l unlimited (containers: --ulimit memlock=-1)";
  } else if (several_gpus && facts.shared_memory_bytes && *facts.shared_memory_bytes < kGiB) {
    line.verdict = Verdict::kWarning;
    line.advice = "NCCL shares memory between ranks: --shm-size=8g for a container";
  } else if (facts.shared_memory_bytes && *facts.shared_memory_bytes < 64 * kMiB) {
    line.verdict = Verdict::kNote;
    line.advice = "several MPI ranks share memory there: --shm-size=1g for a container";
  }
  return line;
}

DoctorLine check_torch(const DoctorFacts& facts) {
  return {
      .topic = "libtorch",
      .finding = fmt::format("{}, {}", facts.engine.torch_version, facts.engine.linear_algebra)};
}

DoctorLine check_gpu(const DoctorFacts& facts) {
  const EngineFacts& engine = facts.engine;
  const std::vector<std::string>& cards = facts.host.nvidia_gpus;
  const bool has_driver = !facts.host.nvidia_driver.empty();
  const auto nvcc = facts.program.find("nvcc");
  DoctorLine line{.topic = "gpu"};
  std::string found = "no NVIDIA driver";
  if (has_driver) {
    found =
        fmt::format("driver {}, {}{}", facts.host.nvidia_driver, counted(std::ssize(cards), "card"),
                    cards.empty() ? "" : " (" + cards.front() + ")");
  }
  const std::string toolkit = nvcc == facts.program.end() ? "no toolkit" : nvcc->second;
  line.finding =
      fmt::format("{}; {}; {}", found, toolkit,
                  engine.built_with_cuda ? fmt::format("built with CUDA {}, {} usable",
                                                       engine.cuda_runtime, engine.num_usable_gpus)
                                         : "built without CUDA");
  if (has_driver && !engine.built_with_cuda) {
    line.verdict = Verdict::kWarning;
    line.advice =
        "to use the card, install the CUDA 13 toolkit, run tools/setup.sh and configure with "
        "-DSWITCHYARD_CUDA=ON";
  } else if (has_driver && engine.num_usable_gpus == 0) {
    line.verdict = Verdict::kWarning;
    line.advice = facts.environment.contains("CUDA_VISIBLE_DEVICES")
                      ? "CUDA_VISIBLE_DEVICES is set: does it hide the cards?"
                      : "CUDA 13 needs a driver from 580 on";
  } else if (engine.gpu && !ops::has_grouped_mm_kernel(c10::kBFloat16, engine.gpu)) {
    line.verdict = Verdict::kNote;
    line.finding += fmt::format("; compute capability {}.{}", engine.gpu->major, engine.gpu->minor);
    line.advice =
        "experts are computed one after another here, with two waits of the host per layer: "
        "LibTorch has a grouped product for compute capability 9.x and 10.x only";
  } else if (!has_driver) {
    line.verdict = Verdict::kNote;
    line.advice = "nothing to do on a machine without GPUs: training runs on the CPU";
  }
  return line;
}

DoctorLine check_nccl(const DoctorFacts& facts) {
  if (!facts.engine.nccl_version.empty()) {
    return {.topic = "nccl", .finding = facts.engine.nccl_version};
  }
  return {.topic = "nccl",
          .verdict = Verdict::kNote,
          .finding = "not in this build",
          .advice = "only several GPUs need it; it comes with a build with CUDA"};
}

DoctorLine check_mpi(const DoctorFacts& facts) {
  if (const auto mpirun = facts.program.find("mpirun"); mpirun != facts.program.end()) {
    return {.topic = "mpi", .finding = mpirun->second};
  }
  return {.topic = "mpi",
          .verdict = Verdict::kNote,
          .finding = "no mpirun on PATH",
          .advice =
              "only several processes on CPUs need it: Debian packages openmpi-bin "
              "libopenmpi-dev"};
}

DoctorLine check_arithmetic(const DoctorFacts& facts) {
  if (facts.engine.products_are_right) {
    return {.topic = "arithmetic", .finding = "matrix products are right in fp32 and bf16"};
  }
  return {.topic = "arithmetic",
          .verdict = Verdict::kFailure,
          .finding = "LibTorch computed a wrong matrix product",
          .advice = "the processor, its memory or the installation is damaged: run tools/test.sh",
          .exit_code = kExitInternal};
}

DoctorLine check_precision(const DoctorFacts& facts, std::string& precision) {
  const double fp32 = facts.engine.fp32_flops;
  const double bf16 = facts.engine.bf16_flops;
  const double speedup = fp32 > 0 ? bf16 / fp32 : 0.0;
  const bool instructions = facts.host.has_bf16_products();
  precision = instructions && speedup >= kWorthwhileSpeedup ? "bf16" : "fp32";
  DoctorLine line{.topic = "precision"};
  line.finding = fmt::format("fp32 {:.0f}, bf16 {:.0f} GFLOP/s ({:.1f}x): train.precision={} here",
                             fp32 / 1e9, bf16 / 1e9, speedup, precision);
  if (instructions && precision == "fp32") {
    line.verdict = Verdict::kNote;
    line.advice = speedup < 1.0
                      ? "this CPU has bf16 instructions, but fp32 is faster: say so where a "
                        "config has bf16"
                      : "this CPU has bf16 instructions, but they gained little: is the "
                        "machine busy?";
  } else if (!instructions) {
    line.advice = "bf16 needs avx512_bf16 or amx_bf16, which this CPU lacks";
  }
  return line;
}

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kNote:
      return "note";
    case Verdict::kWarning:
      return "warn";
    case Verdict::kFailure:
      return "fail";
  }
  return "";
}

int Diagnosis::exit_code() const {
  const auto failure = std::find_if(lines.begin(), lines.end(), [](const DoctorLine& line) {
    return line.verdict == Verdict::kFailure;
  });
  return failure == lines.end() ? kExitDone : failure->exit_code;
}

Diagnosis diagnose(const DoctorFacts& facts) {
  Diagnosis diagnosis;
  std::vector<DoctorLine>& lines = diagnosis.lines;
  lines = {check_cpu(facts), check_threads(facts), check_openmp(facts), check_memory(facts)};
  for (const FolderFacts& folder : facts.folders) lines.push_back(check_folder(folder));
  lines.push_back(check_limits(facts));
  lines.push_back(check_torch(facts));
  lines.push_back(check_arithmetic(facts));
  lines.push_back(check_precision(facts, diagnosis.precision));
  lines.push_back(check_gpu(facts));
  lines.push_back(check_nccl(facts));
  lines.push_back(check_mpi(facts));
  return diagnosis;
}

}  // namespace switchyard::doctor
