#include "switchyard/core/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "switchyard/core/error.h"
#include "switchyard/core/host.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

RankEnvironment read(const Variables& variables) {
  return read_rank_environment([&variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string message_of(const Variables& variables) {
  try {
    (void)read(variables);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(RankEnvironment, NobodySpeaksOfRanks) {
  const RankEnvironment alone = read({{"HOME", "/root"}});
  EXPECT_EQ(alone.rank, 0);
  EXPECT_EQ(alone.num_ranks, 1);
  EXPECT_EQ(alone.num_local_ranks, 1);
  EXPECT_EQ(alone.starter, "");
}

TEST(RankEnvironment, IsWhatMpirunSays) {
  const RankEnvironment open_mpi = read({{"OMPI_COMM_WORLD_RANK", "5"},
                                         {"OMPI_COMM_WORLD_SIZE", "8"},
                                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}});
  EXPECT_EQ(open_mpi.rank, 5);
  EXPECT_EQ(open_mpi.num_ranks, 8);
  EXPECT_EQ(open_mpi.num_local_ranks, 4);
  EXPECT_EQ(open_mpi.starter, "mpirun");
  const RankEnvironment mpich = read({{"PMI_RANK", "2"}, {"PMI_SIZE", "3"}});
  EXPECT_EQ(mpich.rank, 2);
  EXPECT_EQ(mpich.num_local_ranks, 3) << "all on one machine where nothing else is said";
  EXPECT_EQ(read({{"PMI_RANK", "2"}, {"PMI_SIZE", "8"}, {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"}})
                .num_local_ranks,
            4)
      << "srun with PMI2";
  EXPECT_EQ(read({{"RANK", ""}, {"WORLD_SIZE", ""}}).num_ranks, 1) << "set to nothing is not set";
}

TEST(RankEnvironment, SaysWhichRankOfItsMachineThisIs) {
  EXPECT_EQ(read({{"RANK", "5"}, {"WORLD_SIZE", "8"}, {"LOCAL_WORLD_SIZE", "4"}}).local_rank, 1)
      << "in blocks, where nothing else is said";
  EXPECT_EQ(read({{"RANK", "5"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "3"}}).local_rank, 3);
  EXPECT_EQ(read({{"OMPI_COMM_WORLD_RANK", "5"},
                  {"OMPI_COMM_WORLD_SIZE", "8"},
                  {"OMPI_COMM_WORLD_LOCAL_RANK", "2"}})
                .local_rank,
            2);
  EXPECT_EQ(read({{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_LOCALID", "1"}})
                .local_rank,
            1);
}

// srun with PMI2 sets what MPICH sets, of the task that torchrun or `switchyard launch` is.
TEST(RankEnvironment, TorchrunInATaskOfSrunCountsAlone) {
  const Variables ranks{{"RANK", "1"},         {"WORLD_SIZE", "8"},
                        {"PMI_RANK", "0"},     {"PMI_SIZE", "1"},
                        {"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"},
                        {"LOCAL_RANK", "1"},   {"LOCAL_WORLD_SIZE", "8"}};
  EXPECT_EQ(read(ranks).rank, 1);
  EXPECT_EQ(read(ranks).num_ranks, 8);
}

TEST(RankEnvironment, NamesWhereRanksMeet) {
  const Variables ranks{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node-7"}};
  EXPECT_FALSE(read(ranks).meeting.is_named()) << "without a port";
  Variables whole = ranks;
  whole["MASTER_PORT"] = "29500";
  const MeetingPlace place = read(whole).meeting;
  EXPECT_TRUE(place.is_named());
  EXPECT_EQ(place.host, "node-7");
  EXPECT_EQ(place.port, 29500);
  EXPECT_FALSE(place.is_served);
  EXPECT_EQ(place.listening_socket, -1);
  whole["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  whole["TORCHELASTIC_RESTART_COUNT"] = "3";
  EXPECT_TRUE(read(whole).meeting.is_served);
  EXPECT_EQ(read(whole).meeting.attempt, "3");
  for (const char* port : {"0", "65536", "x"}) {
    whole["MASTER_PORT"] = port;
    EXPECT_THAT(message_of(whole), HasSubstr("MASTER_PORT")) << port;
  }
}

TEST(RankEnvironment, OfSlurmIsThatOfTheStep) {
  const Variables step = {{"SLURM_PROCID", "6"},
                          {"SLURM_NTASKS", "99"},
                          {"SLURM_STEP_NUM_TASKS", "8"},
                          {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"}};
  EXPECT_EQ(read(step).rank, 6);
  EXPECT_EQ(read(step).num_ranks, 8);
  EXPECT_EQ(read(step).num_local_ranks, 4);
  EXPECT_EQ(read(step).starter, "srun");
  // A batch script is one process, whatever the size of its job.
  EXPECT_EQ(read({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}).num_ranks, 1);
}

TEST(RankEnvironment, OfTorchrunUnderSrunIsTorchruns) {
  const RankEnvironment torchrun = read({{"RANK", "9"},
                                         {"WORLD_SIZE", "16"},
                                         {"LOCAL_WORLD_SIZE", "8"},
                                         {"SLURM_PROCID", "1"},
                                         {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(torchrun.rank, 9);
  EXPECT_EQ(torchrun.num_ranks, 16);
  EXPECT_EQ(torchrun.starter, "torchrun");
}

TEST(RankEnvironment, SaysWhatContradicts) {
  EXPECT_THAT(message_of({{"RANK", "1"},
                          {"WORLD_SIZE", "4"},
                          {"OMPI_COMM_WORLD_RANK", "0"},
                          {"OMPI_COMM_WORLD_SIZE", "2"}}),
              HasSubstr("torchrun says that this is rank 1 of 4, mpirun says rank 0 of 2"));
  EXPECT_THAT(message_of({{"RANK", "4"}, {"WORLD_SIZE", "4"}}), HasSubstr("ranks count from 0"));
  EXPECT_THAT(message_of({{"RANK", "x"}, {"WORLD_SIZE", "4"}}),
              HasSubstr("RANK is 'x', which is no number"));
  EXPECT_THAT(message_of({{"PMI_RANK", "0"}, {"PMI_SIZE", "-4"}}), HasSubstr("no number"));
  EXPECT_EQ(message_of({{"RANK", "1"}}), "no error") << "half of it is nobody's";
}

TEST(CoresOfOne, AreSharedUnlessTheStarterBoundTheRanks) {
  EXPECT_EQ(cores_of_one(16, 16, 16, 4), 4);
  EXPECT_EQ(cores_of_one(2, 2, 2, 4), 1) << "at least one";
  EXPECT_EQ(cores_of_one(4, 4, 16, 4), 4) << "mpirun bound each rank to its own";
  EXPECT_EQ(cores_of_one(16, 16, 32, 4), 4) << "bound to a socket, which two ranks share";
  EXPECT_EQ(cores_of_one(16, 16, 16, 1), 16);
}

}  // namespace
}  // namespace switchyard
