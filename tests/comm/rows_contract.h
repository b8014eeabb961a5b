// The part of the communicators' contract that is about rows: all_to_all.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/communicator_contract.h"

namespace switchyard::comm {

// Rank r sends (r + 2 to) % 4 rows to rank `to`: uneven, some none. Row i holds from, to and i.
inline std::int64_t rows_between(std::int64_t from, std::int64_t to) {
  return (from + 2 * to) % 4;
}
inline at::Tensor rows_sent(std::int64_t from, std::int64_t to, at::ScalarType dtype,
                            std::int64_t count) {
  const at::Tensor rows = at::empty({count, 3}, dtype);
  rows.select(1, 0).fill_(from);
  rows.select(1, 1).fill_(to);
  rows.select(1, 2).copy_(at::arange(count, at::kLong));
  return rows;
}

TEST_P(CommunicatorContract, BringsEveryRowWhereItBelongs) {
  for (const at::ScalarType dtype : kDtypes) {
    run([&](Communicator& comm) {
      std::vector<at::Tensor> sent;
      std::vector<at::Tensor> expected;
      std::vector<std::int64_t> send_rows;
      std::vector<std::int64_t> receive_rows;
      for (std::int64_t other = 0; other < num_ranks(); ++other) {
        sent.push_back(rows_sent(comm.rank(), other, dtype, rows_between(comm.rank(), other)));
        send_rows.push_back(rows_between(comm.rank(), other));
        expected.push_back(rows_sent(other, comm.rank(), dtype, rows_between(other, comm.rank())));
        receive_rows.push_back(rows_between(other, comm.rank()));
      }
      at::Tensor send = at::cat(sent);
      at::Tensor receive = at::full_like(at::cat(expected), 77);
      for (int round = 0; round < 20; ++round) {
        comm.all_to_all(send, send_rows, receive, receive_rows, "rows");
        EXPECT_TRUE(at::equal(receive, at::cat(expected))) << at::toString(dtype);
        // It is the sender's again, at once: whoever still reads it reads nonsense.
        const at::Tensor before = send.clone();
        send.fill_(99);
        send.copy_(before);
      }
    });
  }
}

TEST_P(CommunicatorContract, BringsNoRowsAtAll) {
  run([&](Communicator& comm) {
    const std::vector<std::int64_t> none(static_cast<std::size_t>(num_ranks()), 0);
    at::Tensor receive = at::empty({0, 5}, at::kFloat);
    comm.all_to_all(at::empty({0, 5}, at::kFloat), none, receive, none, "nothing");
    EXPECT_EQ(receive.size(0), 0);
  });
}

// Of every rank two parts, the second before the first where they lie here, and rows in no part.
TEST_P(CommunicatorContract, BringsPartsWhereTheyBelong) {
  for (const at::ScalarType dtype : kDtypes) {
    run([&](Communicator& comm) {
      constexpr std::int64_t kOthers = 3;
      const auto parts = [](std::int64_t from, std::int64_t to) {
        return std::array{(from + 2 * to) % 3, rows_between(from, to)};
      };
      const auto rows_of = [&](std::int64_t from, std::int64_t to) {
        const std::array<std::int64_t, 2> count = parts(from, to);
        return rows_sent(from, to, dtype, count[0] + count[1]);
      };
      std::vector<at::Tensor> sent;
      std::vector<at::Tensor> seconds;
      std::vector<at::Tensor> firsts;
      RankRows send_rows;
      RankRows receive_rows;
      std::int64_t next = kOthers;
      std::int64_t num_seconds = 0;
      std::int64_t num_firsts = 0;
      for (std::int64_t other = 0; other < num_ranks(); ++other) {
        sent.push_back(rows_of(comm.rank(), other));
        for (const std::int64_t count : parts(comm.rank(), other)) {
          send_rows.add(next, count);
          next += count;
        }
        const std::array<std::int64_t, 2> count = parts(other, comm.rank());
        firsts.push_back(rows_of(other, comm.rank()).narrow(0, 0, count[0]));
        seconds.push_back(rows_of(other, comm.rank()).narrow(0, count[0], count[1]));
        num_firsts += count[0];
        num_seconds += count[1];
      }
      std::int64_t first = num_seconds + kOthers;
      std::int64_t second = 0;
      for (std::int64_t other = 0; other < num_ranks(); ++other) {
        const std::array<std::int64_t, 2> count = parts(other, comm.rank());
        receive_rows.add(first, count[0]);
        receive_rows.add(second, count[1]);
        first += count[0];
        second += count[1];
      }
      const at::Tensor left_alone = at::full({kOthers, 3}, 77, dtype);
      const at::Tensor send = at::cat({left_alone, at::cat(sent)});
      at::Tensor receive = at::full({num_seconds + kOthers + num_firsts, 3}, 77, dtype);
      comm.all_to_all(send, send_rows, receive, receive_rows, "parts");
      EXPECT_TRUE(at::equal(receive, at::cat({at::cat(seconds), left_alone, at::cat(firsts)})))
          << at::toString(dtype);
    });
  }
}

TEST_P(CommunicatorContract, RefusesPartsThatAreNone) {
  run([&](Communicator& comm) {
    const auto ranks = static_cast<std::size_t>(num_ranks());
    const at::Tensor send = at::ones({num_ranks() + 1, 2});
    at::Tensor receive = at::empty({num_ranks() + 1, 2});
    RankRows all;
    RankRows twice;
    RankRows beyond;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const auto row = static_cast<std::int64_t>(rank);
      all.add(row, 1);
      twice.add(0, 2);
      beyond.add(row + 1, rank + 1 == ranks ? 2 : 1);
    }
    RankRows two_each = all;
    two_each.first.insert(two_each.first.end(), ranks, 0);
    two_each.count.insert(two_each.count.end(), ranks, 0);
    RankRows none;
    for (std::size_t i = 0; i < ranks; ++i) none.add(0, -1);
    for (const RankRows& wrong : {beyond, two_each, none, RankRows()}) {
      EXPECT_THROW(comm.all_to_all(send, all, receive, wrong, "x"), InternalError);
      EXPECT_THROW(comm.all_to_all(send, wrong, receive, all, "x"), InternalError);
    }
    if (ranks > 1) {
      EXPECT_THROW(comm.all_to_all(send, twice, receive, twice, "x"), InternalError);
    }
    comm.barrier("what was refused has broken nothing");
  });
}

TEST_P(CommunicatorContract, RefusesRowsThatDoNotAddUp) {
  run([&](Communicator& comm) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(num_ranks()), 1);
    const at::Tensor send = at::ones({num_ranks(), 2});
    at::Tensor receive = at::empty({num_ranks(), 2});
    at::Tensor other_rows = at::empty({num_ranks(), 3});
    at::Tensor other_dtype = at::empty({num_ranks(), 2}, at::kDouble);
    at::Tensor too_many = at::empty({num_ranks() + 1, 2});
    EXPECT_THROW(comm.all_to_all(send, rows, too_many, rows, "x"), InternalError);
    EXPECT_THROW(comm.all_to_all(too_many, rows, receive, rows, "x"), InternalError);
    EXPECT_THROW(comm.all_to_all(send, rows, other_rows, rows, "x"), InternalError);
    EXPECT_THROW(comm.all_to_all(send, rows, other_dtype, rows, "x"), InternalError);
    EXPECT_THROW(comm.all_gather(too_many, receive, "x"), InternalError);
    EXPECT_THROW(comm.reduce_scatter_sum(receive, too_many, "x"), InternalError);
    if (num_ranks() > 1) {  // for one it is another part
      rows.push_back(0);
      EXPECT_THROW(comm.all_to_all(send, rows, receive, rows, "x"), InternalError);
      rows.pop_back();
    }
    at::Tensor undefined;
    at::Tensor scalar = at::ones({});
    for (at::Tensor* tensor : {&undefined, &scalar}) {
      EXPECT_THROW(comm.all_to_all(*tensor, rows, receive, rows, "x"), InternalError);
      EXPECT_THROW(comm.all_to_all(send, rows, *tensor, rows, "x"), InternalError);
    }
    comm.barrier("what was refused has broken nothing");
  });
}

}  // namespace switchyard::comm
