#include "switchyard/core/host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

// A machine made of files.
class Host : public ::testing::Test {
 protected:
  void file(const std::string& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    write_file_atomically(root_ / name, text);
  }
  HostFacts read() { return read_host_facts(root_.path()); }

  testing::TemporaryFolder root_;
};

std::string processor(int number, int socket, int core) {
  return "processor\t: " + std::to_string(number) +
         "\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx2 avx512f avx512_bf16\nphysical id\t: " +
         std::to_string(socket) + "\ncore id\t\t: " + std::to_string(core) + "\n\n";
}

TEST_F(Host, ProcessorsAreCountedByThreadCoreAndSocket) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += processor(i, i / 4, i % 2);
  file("proc/cpuinfo", text);
  file("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-2,5,7-7\n");
  const HostFacts facts = read();
  EXPECT_EQ(facts.cpu_model, "AMD EPYC 9R14");
  EXPECT_EQ(facts.num_threads, 8);
  EXPECT_EQ(facts.num_cores, 4);
  EXPECT_EQ(facts.num_sockets, 2);
  EXPECT_EQ(facts.num_allowed_threads, 5);
  EXPECT_TRUE(facts.has_flag("avx512_bf16"));
  EXPECT_FALSE(facts.has_flag("avx512")) << "flags are whole words";
}

// A machine of 8 processors of which 4 are on, with a mask over all that could be.
TEST_F(Host, ProcessorsThatAreOffAreNotAvailable) {
  std::string text;
  for (int i = 0; i < 4; ++i) text += processor(i, 0, i);
  file("proc/cpuinfo", text);
  file("proc/self/status", "Cpus_allowed_list:\t0-7\n");
  EXPECT_EQ(read().num_available_cores(), 4);
  file("proc/self/status", "Cpus_allowed_list:\t1-2\n");
  EXPECT_EQ(read().num_available_cores(), 2);
  file("proc/self/status", "");
  EXPECT_EQ(read().num_available_cores(), 4);
}

TEST_F(Host, MemoryAndLimitsAreRead) {
  file("proc/meminfo",
       "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\n"
       "SwapTotal: 4096 kB\n");
  file("proc/self/limits",
       "Limit                     Soft Limit           Hard Limit           Units\n"
       "Max open files            1024                 524288               files\n"
       "Max locked memory         unlimited            unlimited            bytes\n");
  const HostFacts facts = read();
  EXPECT_EQ(facts.memory_bytes, 16U << 20U);
  EXPECT_EQ(facts.available_memory_bytes, 8U << 20U);
  EXPECT_EQ(facts.swap_bytes, 4U << 20U);
  EXPECT_EQ(facts.open_files_limit, 1024U);
  EXPECT_EQ(facts.locked_memory_limit_bytes, kUnlimited);
  EXPECT_FALSE(facts.cpu_quota.has_value());
  EXPECT_FALSE(facts.memory_limit_bytes.has_value());
}

TEST_F(Host, TheSmallestLimitOfACgroupAndThoseAboveItCounts) {
  file("proc/self/cgroup", "0::/a/b\n");
  file("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
  file("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  file("sys/fs/cgroup/cpu.max", "max 100000\n");
  file("sys/fs/cgroup/a/b/memory.max", "max\n");
  file("sys/fs/cgroup/memory.max", "1073741824\n");
  file("proc/meminfo", "SwapTotal: 4194304 kB\n");
  file("sys/fs/cgroup/a/b/memory.swap.max", "1048576\n");
  file("sys/fs/cgroup/memory.swap.max", "max\n");
  const HostFacts facts = read();
  EXPECT_DOUBLE_EQ(facts.cpu_quota.value(), 1.5);
  EXPECT_EQ(facts.memory_limit_bytes, 1U << 30U);
  EXPECT_EQ(facts.swap_bytes, 1U << 20U);
}

TEST_F(Host, AContainerThatSeesOnlyItsOwnCgroupFindsItsLimits) {
  file("proc/self/cgroup", "0::/system.slice/docker-1234.scope\n");
  file("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_DOUBLE_EQ(read().cpu_quota.value(), 2.0);
}

TEST_F(Host, CgroupsOfVersionOneAreRead) {
  file("proc/self/cgroup", "5:cpuset:/x\n4:cpu,cpuacct:/job\n3:memory:/job\n");
  file("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "50000\n");
  file("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  const HostFacts facts = read();
  EXPECT_DOUBLE_EQ(facts.cpu_quota.value(), 0.5);
  EXPECT_FALSE(facts.memory_limit_bytes.has_value()) << "this number stands for none";
}

TEST_F(Host, NvidiaCardsAndDriverAreRead) {
  file("proc/driver/nvidia/version",
       "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 2025\n"
       "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n");
  file("proc/driver/nvidia/gpus/0000:18:00.0/information",
       "Model: \t\t NVIDIA H200\nIRQ:   \t\t 1\n");
  const HostFacts facts = read();
  EXPECT_EQ(facts.nvidia_driver, "580.65.06");
  EXPECT_THAT(facts.nvidia_gpus, ElementsAre("NVIDIA H200"));
}

TEST_F(Host, AnEmptyOrOddMachineIsNoError) {
  EXPECT_EQ(read().num_threads, 0);
  file("proc/cpuinfo", "flags\nprocessor\n:\n\n: :\n");
  file("proc/self/status", "Cpus_allowed_list:\t9-2,x,-,3-\n");
  file("proc/self/cgroup", "0::\n::\nnothing\n0::/../..\n");
  file("proc/self/limits", "Max open files\nMax locked memory  much\n");
  file("proc/meminfo", "MemTotal: lots kB\nMemAvailable:\n");
  file("sys/fs/cgroup/cpu.max", "100000 0\n");
  file("sys/fs/cgroup/memory.max", "-5\n");
  const HostFacts facts = read();
  EXPECT_EQ(facts.num_allowed_threads, 0);
  EXPECT_EQ(facts.memory_bytes, 0U);
  EXPECT_FALSE(facts.open_files_limit.has_value());
  EXPECT_FALSE(facts.cpu_quota.has_value());
  EXPECT_FALSE(facts.memory_limit_bytes.has_value());
}

TEST_F(Host, ThisMachineHasProcessorsAndMemory) {
  const HostFacts facts = read_host_facts();
  EXPECT_GE(facts.num_threads, 1);
  EXPECT_GE(facts.num_allowed_threads, 1);
  EXPECT_GT(facts.memory_bytes, std::uint64_t{64} << 20U);
}

TEST_F(Host, ProgramsAreFoundAlongThePath) {
  file("one/tool", "text");
  file("two/tool", "#!/bin/sh\n");
  fs::permissions(root_ / "two/tool", fs::perms::owner_all);
  const std::string path =
      (root_ / "none").string() + "::" + (root_ / "one").string() + ":" + (root_ / "two").string();
  EXPECT_EQ(find_program("tool", path), root_ / "two/tool");
  EXPECT_FALSE(find_program("other", path).has_value());
  EXPECT_FALSE(find_program("tool", "").has_value());
}

TEST(ThisHost, CountsTheCoresThatTheProcessMayUse) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(num_available_cores(), 1);
  EXPECT_LE(num_available_cores(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(num_available_cores(), 1);
  ASSERT_EQ(::sched_setaffinity(0, sizeof(before), &before), 0);
}

TEST(ThisHost, IsOneMachineUntilItBootsAgain) {
  EXPECT_FALSE(machine_id().empty());
  EXPECT_EQ(machine_id().find_first_of(" \n"), std::string::npos);
  EXPECT_EQ(machine_id(), machine_id());
}

TEST(ThisHost, ResidentMemoryGrowsWithWhatIsTouched) {
  const std::uint64_t before = resident_bytes();
  EXPECT_GT(before, 0U);
  const std::vector<char> touched(64U << 20U, 1);
  EXPECT_GT(resident_bytes(), before + (48U << 20U));
  EXPECT_EQ(touched.back(), 1);
}

TEST_F(Host, WaitingForCoresIsTheSumOverThreads) {
  EXPECT_FALSE(seconds_waiting_for_cores(root_ / "none"));
  fs::create_directories(root_ / "task/3");  // a thread that ended meanwhile
  EXPECT_FALSE(seconds_waiting_for_cores(root_ / "task"));
  file("task/1/schedstat", "7000000000 1500000000 12\n");
  file("task/2/schedstat", "9 250000000 1\n");
  file("task/4/schedstat", "no numbers\n");
  EXPECT_DOUBLE_EQ(seconds_waiting_for_cores(root_ / "task").value_or(0.0), 1.75);
  if (fs::exists("/proc/thread-self/schedstat")) {
    EXPECT_GE(seconds_waiting_for_cores().value_or(-1.0),
              seconds_this_thread_waited_for_a_core().value_or(1e9));
  }
}

}  // namespace
}  // namespace switchyard
