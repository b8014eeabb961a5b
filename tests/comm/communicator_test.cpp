// What every communicator must do: one suite for one process and for ranks as threads. Payloads are
// functions of (rank, element), so that results are known in closed form.
#include "switchyard/comm/self.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "switchyard/comm/threads.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

using Body = std::function<void(Communicator&)>;

void run_self(std::int64_t /*num_ranks*/, const Body& body) {
  body(*make_self_communicator());
}

struct Implementation {
  std::string name;
  std::int64_t num_ranks = 1;
  void (*run)(std::int64_t num_ranks, const Body& body) = nullptr;
};

std::ostream& operator<<(std::ostream& out, const Implementation& implementation) {
  return out << implementation.name;
}

class CommunicatorContract : public ::testing::TestWithParam<Implementation> {
 protected:
  static void run(const Body& body) { GetParam().run(GetParam().num_ranks, body); }
  static std::int64_t num_ranks() { return GetParam().num_ranks; }
};

// Small integers, exact in every dtype: element i of rank r.
at::Tensor payload(std::int64_t rank, at::ScalarType dtype, std::int64_t numel = 6) {
  return at::arange(numel, at::kLong).add_(10 * (rank + 1)).to(dtype);
}

at::Tensor sum_of_payloads(std::int64_t num_ranks, at::ScalarType dtype, std::int64_t numel = 6) {
  return at::arange(numel, at::kLong)
      .mul_(num_ranks)
      .add_(5 * num_ranks * (num_ranks + 1))
      .to(dtype);
}

constexpr at::ScalarType kDtypes[] = {at::kDouble, at::kFloat, at::kBFloat16, at::kLong};

TEST_P(CommunicatorContract, NumbersItsRanksFromZero) {
  std::vector<int> seen(static_cast<std::size_t>(num_ranks()));
  run([&](Communicator& comm) {
    EXPECT_EQ(comm.size(), num_ranks());
    ++seen[static_cast<std::size_t>(comm.rank())];
    comm.barrier("start");
  });
  EXPECT_EQ(seen, std::vector<int>(static_cast<std::size_t>(num_ranks()), 1));
}

TEST_P(CommunicatorContract, AddsUpTheTensorsOfAllRanksInPlace) {
  for (const at::ScalarType dtype : kDtypes) {
    SCOPED_TRACE(at::toString(dtype));
    run([&](Communicator& comm) {
      at::Tensor tensor = payload(comm.rank(), dtype).view({2, 3});
      const at::Tensor same_storage = tensor;
      comm.all_reduce_sum(tensor, "payload");
      EXPECT_TRUE(at::equal(tensor, sum_of_payloads(num_ranks(), dtype).view({2, 3})));
      EXPECT_TRUE(same_storage.is_same(tensor));
    });
  }
}

// (1e8 + 1) - 1e8 is 0 in fp32: another order gives another sum.
TEST_P(CommunicatorContract, AddsInAscendingRankWhoeverArrivesFirst) {
  const float terms[] = {1e8F, 1.0F, -1e8F, 3.0F};
  float expected = terms[0];
  for (std::int64_t rank = 1; rank < num_ranks(); ++rank) expected += terms[rank];
  for (int round = 0; round < 100; ++round) {
    run([&](Communicator& comm) {
      at::Tensor tensor = at::full({3}, terms[comm.rank()], at::kFloat);
      comm.all_reduce_sum(tensor, "order");
      EXPECT_EQ(tensor[2].item<float>(), expected);
    });
  }
}

TEST_P(CommunicatorContract, BroadcastsFromEveryRoot) {
  for (const at::ScalarType dtype : kDtypes) {
    run([&](Communicator& comm) {
      for (std::int64_t root = 0; root < num_ranks(); ++root) {
        at::Tensor tensor = payload(comm.rank(), dtype);
        comm.broadcast(tensor, root, "payload");
        EXPECT_TRUE(at::equal(tensor, payload(root, dtype))) << at::toString(dtype) << " " << root;
      }
    });
  }
}

TEST_P(CommunicatorContract, SendsScalarsAndEmptyTensors) {
  run([&](Communicator& comm) {
    at::Tensor scalar = at::full({}, 2.5, at::kDouble);
    comm.all_reduce_sum(scalar, "scalar");
    EXPECT_EQ(scalar.item<double>(), 2.5 * static_cast<double>(num_ranks()));
    at::Tensor empty = at::empty({0, 3}, at::kFloat);
    comm.all_reduce_sum(empty, "empty");
    comm.broadcast(empty, 0, "empty");
    EXPECT_EQ(empty.sizes(), at::IntArrayRef({0, 3}));
  });
}

TEST_P(CommunicatorContract, KeepsManyCollectivesInARowApart) {
  run([&](Communicator& comm) {
    for (std::int64_t i = 0; i < 500; ++i) {
      at::Tensor tensor = at::full({4}, i * (comm.rank() + 1), at::kLong);
      comm.all_reduce_sum(tensor, "sum");
      const std::int64_t expected = i * num_ranks() * (num_ranks() + 1) / 2;
      ASSERT_TRUE(at::equal(tensor, at::full({4}, expected, at::kLong))) << i;
      at::Tensor from_last = at::full({}, i + comm.rank(), at::kLong);
      comm.broadcast(from_last, num_ranks() - 1, "last");
      ASSERT_EQ(from_last.item<std::int64_t>(), i + num_ranks() - 1);
    }
  });
}

// A barrier that lets a rank through early shows in the count of those that entered.
TEST_P(CommunicatorContract, LeavesABarrierOnlyWhenAllHaveEntered) {
  std::atomic<std::int64_t> num_entered{0};
  run([&](Communicator& comm) {
    for (std::int64_t round = 1; round <= 100; ++round) {
      ++num_entered;
      comm.barrier("all here");
      EXPECT_EQ(num_entered, round * num_ranks());
      comm.barrier("all have looked");
    }
  });
}

TEST_P(CommunicatorContract, GroupsOfASplitReduceAmongThemselves) {
  run([&](Communicator& comm) {
    const std::int64_t parity = comm.rank() % 2;
    const std::unique_ptr<Communicator> group = comm.split(parity, "parity");
    EXPECT_EQ(group->rank(), comm.rank() / 2);
    EXPECT_EQ(group->size(), (num_ranks() + 1 - parity) / 2);
    at::Tensor members = at::full({}, std::int64_t{1} << comm.rank(), at::kLong);
    group->all_reduce_sum(members, "members");
    std::int64_t expected = 0;
    for (std::int64_t rank = parity; rank < num_ranks(); rank += 2) {
      expected |= std::int64_t{1} << rank;
    }
    EXPECT_EQ(members.item<std::int64_t>(), expected);
    // The groups' collectives and the whole's do not get into each other's way.
    at::Tensor all = at::ones({2}, at::kLong);
    comm.all_reduce_sum(all, "all");
    EXPECT_EQ(all[1].item<std::int64_t>(), num_ranks());
    at::Tensor first = at::full({}, comm.rank(), at::kLong);
    group->broadcast(first, 0, "first of the group");
    EXPECT_EQ(first.item<std::int64_t>(), parity);
  });
}

TEST_P(CommunicatorContract, AGroupCanBeSplitAgainAndOutlivesItsParent) {
  run([&](Communicator& comm) {
    std::unique_ptr<Communicator> group = comm.split(comm.rank() / 2, "pairs");
    group = group->split(group->rank(), "alone");
    EXPECT_EQ(group->size(), 1);
    at::Tensor tensor = payload(comm.rank(), at::kDouble);
    group->all_reduce_sum(tensor, "alone");
    EXPECT_TRUE(at::equal(tensor, payload(comm.rank(), at::kDouble)));
  });
}

TEST_P(CommunicatorContract, RefusesTensorsThatCannotBeSent) {
  run([&](Communicator& comm) {
    at::Tensor undefined;
    at::Tensor strided = at::ones({2, 3}).t();
    at::Tensor differentiable = at::ones({2}).requires_grad_();
    for (at::Tensor* tensor : {&undefined, &strided, &differentiable}) {
      EXPECT_THROW(comm.all_reduce_sum(*tensor, "x"), InternalError);
      EXPECT_THROW(comm.broadcast(*tensor, 0, "x"), InternalError);
    }
    at::Tensor fine = at::ones({2});
    EXPECT_THROW(comm.broadcast(fine, num_ranks(), "x"), InternalError);
    EXPECT_THROW(comm.broadcast(fine, -1, "x"), InternalError);
    comm.all_reduce_sum(fine, "what was refused has broken nothing");
    EXPECT_EQ(fine[1].item<double>(), static_cast<double>(num_ranks()));
  });
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorContract,
                         ::testing::Values(Implementation{"self", 1, &run_self},
                                           Implementation{"threads1", 1, &run_ranks},
                                           Implementation{"threads2", 2, &run_ranks},
                                           Implementation{"threads3", 3, &run_ranks},
                                           Implementation{"threads4", 4, &run_ranks}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace switchyard::comm
