#include "switchyard/doctor/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "switchyard/core/exit_code.h"

namespace switchyard::doctor {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30U;

// A machine with nothing to complain about.
DoctorFacts healthy() {
  DoctorFacts facts;
  facts.host.cpu_model = "Some CPU";
  facts.host.cpu_flags = {"avx2",  "fma",     "bmi2",     "f16c",
                          "movbe", "avx512f", "amx_bf16", "avx512_bf16"};
  facts.host.num_sockets = 1;
  facts.host.num_cores = 4;
  facts.host.num_threads = 8;
  facts.host.num_allowed_threads = 8;
  facts.host.memory_bytes = 64 * kGiB;
  facts.host.available_memory_bytes = 60 * kGiB;
  facts.host.open_files_limit = 65536;
  facts.host.locked_memory_limit_bytes = kUnlimited;
  facts.host.nvidia_driver = "580.65.06";
  facts.host.nvidia_gpus = {"NVIDIA H200"};
  facts.engine = {.torch_version = "2.11.0",
                  .linear_algebra = "oneDNN",
                  .num_threads = 8,
                  .cpu_architecture = "x86-64-v3",
                  .built_with_cuda = true,
                  .num_usable_gpus = 1,
                  .cuda_runtime = "13.0",
                  .nccl_version = "2.28.9",
                  .fp32_flops = 150e9,
                  .bf16_flops = 500e9};
  facts.folders = {{"cache", "/home/u/.cache/switchyard", 100 * kGiB, true},
                   {"current folder", "/home/u", 100 * kGiB, true}};
  facts.shared_memory_bytes = 8 * kGiB;
  facts.environment = {{"OMP_WAIT_POLICY", "PASSIVE"}};
  facts.program = {{"mpirun", "/usr/bin/mpirun"}, {"nvcc", "/usr/local/cuda/bin/nvcc"}};
  return facts;
}

DoctorLine line_of(const DoctorFacts& facts, const std::string& topic) {
  for (DoctorLine& line : diagnose(facts).lines) {
    if (line.topic == topic) return std::move(line);
  }
  throw std::runtime_error("no line about " + topic);
}

TEST(Doctor, AHealthyMachineHasNoAdviceAndExitsWithZero) {
  const Diagnosis diagnosis = diagnose(healthy());
  EXPECT_EQ(diagnosis.exit_code(), kExitDone);
  EXPECT_EQ(diagnosis.precision, "bf16");
  for (const DoctorLine& line : diagnosis.lines) {
    EXPECT_EQ(line.verdict, Verdict::kOk) << line.topic;
    EXPECT_EQ(line.advice, "") << line.topic;
    EXPECT_NE(line.finding, "") << line.topic;
  }
}

TEST(Doctor, EveryComplaintComesWithAdvice) {
  DoctorFacts facts = healthy();
  facts.host = {};
  facts.host.cpu_flags = {"sse2"};
  facts.host.nvidia_gpus = {"a", "b"};
  facts.host.memory_bytes = kGiB;
  facts.engine = {.num_threads = 64, .cpu_architecture = "x86-64-v3", .products_are_right = false};
  facts.environment = {{"OMP_WAIT_POLICY", "ACTIVE"}};
  facts.program.clear();
  facts.folders[0].writable = false;
  facts.folders[1].free_bytes = 1;
  std::size_t complaints = 0;
  for (const DoctorLine& line : diagnose(facts).lines) {
    if (line.verdict == Verdict::kOk) continue;
    ++complaints;
    EXPECT_NE(line.advice, "") << line.topic;
    EXPECT_EQ(line.exit_code != 0, line.verdict == Verdict::kFailure) << line.topic;
  }
  EXPECT_GE(complaints, 10U);
}

TEST(Doctor, ACpuWithoutTheInstructionsOfTheBuildIsAFailure) {
  DoctorFacts facts = healthy();
  facts.host.cpu_flags.erase("fma");
  EXPECT_THAT(line_of(facts, "cpu").finding, HasSubstr("built for x86-64-v3"));
  EXPECT_THAT(line_of(facts, "cpu").finding, HasSubstr("lacks fma"));
  EXPECT_EQ(diagnose(facts).exit_code(), kExitUsage);
  facts.engine.cpu_architecture = "";
  EXPECT_EQ(diagnose(facts).exit_code(), kExitDone) << "the compiler's default runs everywhere";
  facts.host.cpu_flags.clear();
  facts.engine.cpu_architecture = "x86-64-v3";
  EXPECT_EQ(line_of(facts, "cpu").verdict, Verdict::kNote) << "not told, so not blamed";
}

TEST(Doctor, WrongArithmeticIsAFailure) {
  DoctorFacts facts = healthy();
  facts.engine.products_are_right = false;
  EXPECT_EQ(diagnose(facts).exit_code(), kExitInternal);
}

TEST(Doctor, Bf16IsRecommendedOnlyWithInstructionsAndAMeasuredGain) {
  DoctorFacts facts = healthy();
  facts.host.cpu_flags.erase("amx_bf16");
  EXPECT_EQ(diagnose(facts).precision, "bf16") << "avx512_bf16 is enough";
  facts.engine.bf16_flops = 1.1 * facts.engine.fp32_flops;
  EXPECT_EQ(diagnose(facts).precision, "fp32");
  EXPECT_EQ(line_of(facts, "precision").verdict, Verdict::kNote);
  EXPECT_THAT(line_of(facts, "precision").advice, HasSubstr("they gained little"));
  facts.engine.bf16_flops = 0.7 * facts.engine.fp32_flops;
  EXPECT_THAT(line_of(facts, "precision").advice, HasSubstr("fp32 is faster"));
  facts = healthy();
  facts.host.cpu_flags = {"avx2", "fma", "bmi2", "f16c", "movbe", "avx512f"};
  EXPECT_EQ(diagnose(facts).precision, "fp32");
  EXPECT_THAT(line_of(facts, "precision").finding, HasSubstr("fp32 150, bf16 500 GFLOP/s (3.3x)"));
}

TEST(Doctor, MoreThreadsThanTheCgroupAllowsAreAWarning) {
  DoctorFacts facts = healthy();
  facts.host.cpu_quota = 2.5;
  EXPECT_EQ(line_of(facts, "threads").verdict, Verdict::kWarning);
  EXPECT_THAT(line_of(facts, "threads").advice, HasSubstr("set it to 3"));
  facts.engine.num_threads = 3;
  EXPECT_EQ(line_of(facts, "threads").verdict, Verdict::kOk);
  facts.engine.num_threads = 1;
  facts.environment["OMP_NUM_THREADS"] = "1";
  EXPECT_EQ(line_of(facts, "threads").verdict, Verdict::kNote);
}

TEST(Doctor, SpinningThreadsAreAWarning) {
  DoctorFacts facts = healthy();
  facts.environment["OMP_WAIT_POLICY"] = "passive";
  EXPECT_EQ(line_of(facts, "openmp").verdict, Verdict::kOk);
  facts.environment["OMP_WAIT_POLICY"] = "ACTIVE";
  EXPECT_EQ(line_of(facts, "openmp").verdict, Verdict::kWarning);
  facts.environment.erase("OMP_WAIT_POLICY");
  EXPECT_EQ(line_of(facts, "openmp").verdict, Verdict::kOk) << "the engine chooses";
  facts.environment["GOMP_SPINCOUNT"] = "10000";
  EXPECT_EQ(line_of(facts, "openmp").verdict, Verdict::kOk);
  for (const char* rounds : {"300000", "infinity", "-1"}) {
    facts.environment["GOMP_SPINCOUNT"] = rounds;
    EXPECT_EQ(line_of(facts, "openmp").verdict, Verdict::kWarning) << rounds;
  }
}

TEST(Doctor, TheSmallerOfFreeMemoryAndTheCgroupsLimitCounts) {
  DoctorFacts facts = healthy();
  facts.host.memory_limit_bytes = kGiB;
  EXPECT_EQ(line_of(facts, "memory").verdict, Verdict::kWarning);
  facts.host.memory_limit_bytes = 8 * kGiB;
  EXPECT_EQ(line_of(facts, "memory").verdict, Verdict::kOk);
  facts.host.available_memory_bytes = kGiB;
  EXPECT_EQ(line_of(facts, "memory").verdict, Verdict::kWarning);
}

TEST(Doctor, FullAndReadOnlyFoldersAreNamed) {
  DoctorFacts facts = healthy();
  facts.folders[1].free_bytes = kGiB;
  EXPECT_EQ(line_of(facts, "current folder").verdict, Verdict::kWarning);
  facts.folders[0].writable = false;
  EXPECT_THAT(line_of(facts, "cache").finding, HasSubstr("/home/u/.cache/switchyard"));
  EXPECT_THAT(line_of(facts, "cache").advice, HasSubstr("SWITCHYARD_CACHE"));
  EXPECT_EQ(diagnose(facts).exit_code(), kExitDone);
}

TEST(Doctor, ABuildWithoutCudaIsNoErrorAndIsAWarningOnlyBesideAGpu) {
  DoctorFacts facts = healthy();
  facts.engine.built_with_cuda = false;
  facts.engine.num_usable_gpus = 0;
  EXPECT_EQ(line_of(facts, "gpu").verdict, Verdict::kWarning);
  EXPECT_THAT(line_of(facts, "gpu").advice, HasSubstr("SWITCHYARD_CUDA=ON"));
  facts.host.nvidia_driver.clear();
  facts.host.nvidia_gpus.clear();
  EXPECT_EQ(line_of(facts, "gpu").verdict, Verdict::kNote);
  EXPECT_THAT(line_of(facts, "gpu").finding, HasSubstr("built without CUDA"));
  EXPECT_EQ(diagnose(facts).exit_code(), kExitDone);
}

TEST(Doctor, CardsThatCannotBeUsedAreAWarning) {
  DoctorFacts facts = healthy();
  facts.engine.num_usable_gpus = 0;
  EXPECT_THAT(line_of(facts, "gpu").advice, HasSubstr("driver from 580"));
  facts.environment["CUDA_VISIBLE_DEVICES"] = "";
  EXPECT_THAT(line_of(facts, "gpu").advice, HasSubstr("CUDA_VISIBLE_DEVICES"));
}

TEST(Doctor, SaysWhereExpertsAreComputedOneAfterAnother) {
  DoctorFacts facts = healthy();
  facts.engine.gpu = ops::GpuFacts{.name = "NVIDIA H200", .major = 9, .minor = 0};
  EXPECT_EQ(line_of(facts, "gpu").verdict, Verdict::kOk);
  facts.engine.gpu = ops::GpuFacts{.name = "NVIDIA A100", .major = 8, .minor = 0};
  EXPECT_EQ(line_of(facts, "gpu").verdict, Verdict::kNote);
  EXPECT_THAT(line_of(facts, "gpu").finding, HasSubstr("compute capability 8.0"));
  EXPECT_THAT(line_of(facts, "gpu").advice, HasSubstr("two waits of the host per layer"));
}

TEST(Doctor, LimitsThatSeveralGpusNeedAreAskedForOnlyThere) {
  DoctorFacts facts = healthy();
  facts.host.locked_memory_limit_bytes = 8U << 20U;
  EXPECT_EQ(line_of(facts, "limits").verdict, Verdict::kOk);
  facts.host.nvidia_gpus = {"NVIDIA H200", "NVIDIA H200"};
  EXPECT_THAT(line_of(facts, "limits").advice, HasSubstr("ulimit -l"));
  facts.host.locked_memory_limit_bytes = kUnlimited;
  facts.shared_memory_bytes = 64U << 20U;
  EXPECT_THAT(line_of(facts, "limits").advice, HasSubstr("--shm-size"));
  facts.host.open_files_limit = 256;
  EXPECT_THAT(line_of(facts, "limits").advice, HasSubstr("ulimit -n"));
}

TEST(Doctor, ThisMachinesFactsAreGathered) {
  const DoctorFacts facts = gather_doctor_facts();
  EXPECT_GE(facts.host.num_threads, 1);
  EXPECT_TRUE(facts.engine.products_are_right);
  EXPECT_GT(facts.engine.fp32_flops, 1e8);
  EXPECT_GT(facts.engine.bf16_flops, 1e6);
  EXPECT_THAT(facts.engine.torch_version, HasSubstr("2."));
  ASSERT_EQ(facts.folders.size(), 2U);
  EXPECT_GT(facts.folders[1].free_bytes.value_or(0), 0U);
  EXPECT_EQ(diagnose(facts).exit_code(), kExitDone);
}

}  // namespace
}  // namespace switchyard::doctor
