// What every communicator must do: one suite for all of them. Payloads are functions of (rank,
// element), so that results are known in closed form. A body may run as a thread of this process or
// in a process of its own: ranks tell each other only what they send.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {

using Body = std::function<void(Communicator&)>;

struct Implementation {
  std::string name;
  std::int64_t num_ranks = 1;
  void (*run)(std::int64_t num_ranks, const Body& body) = nullptr;
};

inline std::ostream& operator<<(std::ostream& out, const Implementation& implementation) {
  return out << implementation.name;
}

class CommunicatorContract : public ::testing::TestWithParam<Implementation> {
 protected:
  static void run(const Body& body) { GetParam().run(GetParam().num_ranks, body); }
  static std::int64_t num_ranks() { return GetParam().num_ranks; }
};

// Small integers, exact in every dtype: element i of rank r.
inline at::Tensor payload(std::int64_t rank, at::ScalarType dtype, std::int64_t numel = 6) {
  return at::arange(numel, at::kLong).add_(10 * (rank + 1)).to(dtype);
}

inline at::Tensor sum_of_payloads(std::int64_t num_ranks, at::ScalarType dtype,
                                  std::int64_t numel = 6) {
  return at::arange(numel, at::kLong)
      .mul_(num_ranks)
      .add_(5 * num_ranks * (num_ranks + 1))
      .to(dtype);
}

inline constexpr at::ScalarType kDtypes[] = {at::kDouble, at::kFloat, at::kBFloat16, at::kLong};

TEST_P(CommunicatorContract, NumbersItsRanksFromZero) {
  run([&](Communicator& comm) {
    EXPECT_EQ(comm.size(), num_ranks());
    at::Tensor seen = at::zeros({num_ranks()}, at::kLong);
    seen[comm.rank()] = 1;
    comm.all_reduce_sum(seen, "seen");
    EXPECT_TRUE(at::equal(seen, at::ones({num_ranks()}, at::kLong)));
  });
}

// What was begun is done when it was waited for, and before what is entered later.
TEST_P(CommunicatorContract, BeginsCollectivesBeside) {
  run([&](Communicator& comm) {
    const std::unique_ptr<Communicator> group = comm.split(0, "group");
    at::Tensor sum = payload(comm.rank(), at::kDouble);
    const at::Tensor own = payload(comm.rank(), at::kDouble, 2);
    at::Tensor all = at::zeros({2 * num_ranks()}, at::kDouble);
    const auto first = comm.begin([&] { comm.all_reduce_sum(sum, "first"); });
    const auto second = group->begin([&] {
      group->all_reduce_sum(sum, "second");
      group->all_gather(own, all, "gathered");
    });
    second->wait();
    const auto both = static_cast<double>(num_ranks());
    EXPECT_TRUE(at::equal(sum, sum_of_payloads(num_ranks(), at::kDouble).mul_(both)));
    for (std::int64_t rank = 0; rank < num_ranks(); ++rank) {
      EXPECT_TRUE(at::equal(all.narrow(0, 2 * rank, 2), payload(rank, at::kDouble, 2)));
    }
    first->wait();
    at::Tensor later = payload(comm.rank(), at::kLong);
    const auto third = comm.begin([&] { comm.all_reduce_sum(sum, "third"); });
    comm.all_reduce_sum(later, "later");
    EXPECT_TRUE(at::equal(sum, sum_of_payloads(num_ranks(), at::kDouble).mul_(both * both)));
    EXPECT_TRUE(at::equal(later, sum_of_payloads(num_ranks(), at::kLong)));
    third->wait();
  });
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

TEST_P(CommunicatorContract, GathersEveryRanksRowsInOrder) {
  for (const at::ScalarType dtype : kDtypes) {
    run([&](Communicator& comm) {
      at::Tensor all = at::empty({3 * num_ranks(), 2}, dtype);
      comm.all_gather(payload(comm.rank(), dtype).view({3, 2}), all, "rows");
      for (std::int64_t rank = 0; rank < num_ranks(); ++rank) {
        EXPECT_TRUE(at::equal(all.narrow(0, 3 * rank, 3), payload(rank, dtype).view({3, 2})));
      }
    });
  }
}

// A backend may count in 31 bits, or have room for so much only.
TEST_P(CommunicatorContract, GathersMoreThanGoesInOnePiece) {
  constexpr std::int64_t kRows = (std::int64_t{1} << 21) + 3;
  const auto of_rank = [](std::int64_t rank) {
    const at::Tensor rows = at::arange(2 * kRows, at::kInt).view({kRows, 2});
    return rows.remainder(127).add(rank).to(at::kByte);
  };
  run([&](Communicator& comm) {
    at::Tensor all = at::empty({kRows * num_ranks(), 2}, at::kByte);
    comm.all_gather(of_rank(comm.rank()), all, "rows");
    for (std::int64_t rank = 0; rank < num_ranks(); ++rank) {
      EXPECT_TRUE(at::equal(all.narrow(0, kRows * rank, kRows), of_rank(rank))) << rank;
    }
  });
}

TEST_P(CommunicatorContract, LeavesEveryRankItsBlockOfASum) {
  for (const at::ScalarType dtype : kDtypes) {
    run([&](Communicator& comm) {
      const std::int64_t numel = 2 * num_ranks();
      at::Tensor own = at::empty({2}, dtype);
      comm.reduce_scatter_sum(payload(comm.rank(), dtype, numel), own, "blocks");
      const at::Tensor sum = sum_of_payloads(num_ranks(), dtype, numel);
      EXPECT_TRUE(at::equal(own, sum.narrow(0, 2 * comm.rank(), 2)));
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
    EXPECT_THROW((void)comm.split(-1, "x"), InternalError);
    EXPECT_THROW((void)comm.split(std::int64_t{1} << 31, "x"), InternalError);
    at::Tensor part = fine.narrow(0, 0, 2 / num_ranks());
    EXPECT_THROW(comm.all_gather(part, fine, "x"), InternalError) << "they share memory";
    comm.all_reduce_sum(fine, "what was refused has broken nothing");
    EXPECT_EQ(fine[1].item<double>(), static_cast<double>(num_ranks()));
  });
}

}  // namespace switchyard::comm
