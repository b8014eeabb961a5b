// One lock for all groups of a run: so the last rank to arrive can see that nobody is left who
// could complete what the others wait for.
#include "switchyard/comm/threads.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/agreement.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"

namespace switchyard::comm {
namespace {

class World {
 public:
  explicit World(std::int64_t num_ranks) : ranks_(static_cast<std::size_t>(num_ranks)) {}

  std::mutex mutex;
  std::condition_variable changed;

  // The rest is called with the lock held.
  void fail(const std::string& why) {
    if (!failure_.has_value()) failure_ = why;
    changed.notify_all();
  }
  void fail(std::int64_t rank, const std::string& why) {
    if (!failure_.has_value()) failed_rank_ = rank;
    fail(fmt::format("rank {} failed: {}", rank, why));
  }
  [[nodiscard]] bool has_failed() const { return failure_.has_value(); }
  [[nodiscard]] std::optional<std::int64_t> failed_rank() const { return failed_rank_; }
  void throw_if_failed() const {
    if (failure_.has_value()) throw InternalError(*failure_);
  }

  void wait(std::int64_t rank, const std::string& for_what) {
    at(rank).waits_for = for_what;
    fail_if_nobody_computes();
  }
  void go_on(std::int64_t rank) { at(rank).waits_for.reset(); }
  void end(std::int64_t rank) {
    at(rank).ended = true;
    fail_if_nobody_computes();
  }

 private:
  struct Rank {
    std::optional<std::string> waits_for;
    bool ended = false;
  };
  Rank& at(std::int64_t rank) { return ranks_[static_cast<std::size_t>(rank)]; }

  void fail_if_nobody_computes() {
    std::string report;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (!ranks_[rank].ended && !ranks_[rank].waits_for.has_value()) return;
      report +=
          fmt::format("{}rank {} {}", report.empty() ? "" : "; ", rank,
                      ranks_[rank].ended ? "has ended" : "waits in " + *ranks_[rank].waits_for);
    }
    const bool all_ended =
        std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& each) { return each.ended; });
    if (!all_ended) fail("collectives that cannot be completed: " + report);
  }

  std::vector<Rank> ranks_;
  std::optional<std::string> failure_;
  std::optional<std::int64_t> failed_rank_;
};

class Group;

// What one rank brings to a collective. Ranks agree when their descriptions are equal.
struct Call {
  enum class Operation { sum, all_gather, all_to_all, broadcast, barrier, split };
  Operation operation = Operation::barrier;
  std::string description;
  at::Tensor tensor = {};
  std::int64_t root = 0;
  RankRows send_rows = {};
  RankRows receive_rows = {};
  std::int64_t group = 0;  // of split
};

struct Result {
  at::Tensor tensor = {};
  std::vector<std::vector<at::Tensor>> sent = {};  // all_to_all: by sender, as its parts; views
  std::map<std::int64_t, std::shared_ptr<Group>> groups = {};
};

class Group {
 public:
  Group(std::shared_ptr<World> world, std::string name, std::vector<std::int64_t> members)
      : world_(std::move(world)),
        name_(std::move(name)),
        members_(std::move(members)),
        calls_(members_.size()) {}

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(members_.size()); }
  // Between ranks here and ranks of the world.
  [[nodiscard]] std::int64_t member(std::int64_t rank) const {
    return members_[static_cast<std::size_t>(rank)];
  }
  [[nodiscard]] std::int64_t rank_of(std::int64_t member) const {
    return std::find(members_.begin(), members_.end(), member) - members_.begin();
  }

  void abandon(std::int64_t rank) {
    const std::scoped_lock lock(world_->mutex);
    world_->fail(member(rank), "it gave up");
  }

  // Returns when all members have called.
  Result enter(std::int64_t rank, Call call) {
    std::unique_lock lock(world_->mutex);
    world_->throw_if_failed();
    const std::string for_what = fmt::format("{} of {}", call.description, name_);
    calls_[static_cast<std::size_t>(rank)] = std::move(call);
    if (++num_arrived_ == size()) {
      complete();
    } else {
      const std::int64_t round = round_;
      world_->wait(member(rank), for_what);
      world_->changed.wait(lock, [&] { return round_ != round || world_->has_failed(); });
      if (round_ == round) world_->throw_if_failed();
    }
    // Stays until the next round is complete, which needs this rank.
    return result_;
  }

 private:
  void complete() {
    try {
      check_agreement();
      result_ = compute();
    } catch (const std::exception& error) {
      world_->fail(error.what());
      world_->throw_if_failed();
    }
    std::fill(calls_.begin(), calls_.end(), Call{});
    num_arrived_ = 0;
    ++round_;
    for (const std::int64_t each : members_) world_->go_on(each);
    world_->changed.notify_all();
  }

  void check_agreement() const {
    for (std::size_t rank = 1; rank < calls_.size(); ++rank) {
      SWITCHYARD_CHECK(calls_[rank].description == calls_[0].description,
                       "rank {} is in {}, rank {} in {}", members_[0], calls_[0].description,
                       members_[rank], calls_[rank].description);
    }
  }

  void check_rows_agree() const {
    const std::size_t num_parts = calls_[0].send_rows.count.size() / calls_.size();
    for (std::size_t from = 0; from < calls_.size(); ++from) {
      for (std::size_t i = 0; i < calls_[from].send_rows.count.size(); ++i) {
        const std::size_t to = i / num_parts;
        const std::int64_t sends = calls_[from].send_rows.count[i];
        const std::int64_t expects =
            calls_[to].receive_rows.count[from * num_parts + i % num_parts];
        SWITCHYARD_CHECK(sends == expects, "{}: rank {} sends {} rows to rank {}, which expects {}",
                         calls_[0].description, members_[from], sends, members_[to], expects);
      }
    }
  }

  [[nodiscard]] Result compute() const {
    Result result;
    switch (calls_[0].operation) {
      case Call::Operation::sum:
        result.tensor = calls_[0].tensor.clone();
        for (std::size_t rank = 1; rank < calls_.size(); ++rank) {
          result.tensor.add_(calls_[rank].tensor.to(result.tensor.device()));
        }
        break;
      case Call::Operation::all_gather: {
        std::vector<at::Tensor> tensors;
        for (const Call& call : calls_) tensors.push_back(call.tensor);
        result.tensor = at::cat(tensors);
        break;
      }
      case Call::Operation::all_to_all:
        check_rows_agree();
        for (const Call& call : calls_) result.sent.push_back(call.send_rows.parts_of(call.tensor));
        break;
      case Call::Operation::broadcast:
        result.tensor = calls_[static_cast<std::size_t>(calls_[0].root)].tensor.clone();
        break;
      case Call::Operation::barrier:
        break;
      case Call::Operation::split: {
        std::map<std::int64_t, std::vector<std::int64_t>> members;
        for (std::size_t rank = 0; rank < calls_.size(); ++rank) {
          members[calls_[rank].group].push_back(members_[rank]);
        }
        for (auto& [group, of_group] : members) {
          result.groups[group] = std::make_shared<Group>(
              world_, fmt::format("{} {}", calls_[0].description, group), std::move(of_group));
        }
        break;
      }
    }
    return result;
  }

  std::shared_ptr<World> world_;
  std::string name_;
  std::vector<std::int64_t> members_;  // ranks of the world, by rank here
  std::vector<Call> calls_;            // of this round, by rank here
  std::int64_t num_arrived_ = 0;
  std::int64_t round_ = 0;
  Result result_;  // of the last round
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, std::int64_t rank)
      : group_(std::move(group)), rank_(rank) {}

  [[nodiscard]] std::int64_t rank() const override { return rank_; }
  [[nodiscard]] std::int64_t size() const override { return group_->size(); }

  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    check_sendable(tensor, name);
    const Result sum =
        group_->enter(rank_, {.operation = Call::Operation::sum,
                              .description = describe("all_reduce_sum", name, tensor),
                              .tensor = tensor});
    tensor.copy_(sum.tensor);
  }

  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    check_blocks(own, all, size(), name);
    const Result sum =
        group_->enter(rank_, {.operation = Call::Operation::sum,
                              .description = describe("reduce_scatter_sum", name, all),
                              .tensor = all});
    own.copy_(sum.tensor.narrow(0, rank_ * own.size(0), own.size(0)));
  }

  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    check_blocks(own, all, size(), name);
    const Result gathered = group_->enter(rank_, {.operation = Call::Operation::all_gather,
                                                  .description = describe("all_gather", name, own),
                                                  .tensor = own});
    all.copy_(gathered.tensor);
  }

  // Each rank copies what it receives, side by side with the others; nobody goes on, and perhaps
  // changes what it sent, before all have.
  void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                  const RankRows& receive_rows, std::string_view name) override {
    const std::size_t num_parts = check_rows(send, send_rows, receive, receive_rows, size(), name);
    const std::string description = describe_rows(name, send, num_parts);
    const Result rows = group_->enter(rank_, {.operation = Call::Operation::all_to_all,
                                              .description = description,
                                              .tensor = send,
                                              .send_rows = send_rows,
                                              .receive_rows = receive_rows});
    const std::vector<at::Tensor> targets = receive_rows.parts_of(receive);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const std::size_t own = static_cast<std::size_t>(rank_) * num_parts + i % num_parts;
      targets[i].copy_(rows.sent[i / num_parts][own]);
    }
    (void)group_->enter(rank_, {.description = description + ", received"});
  }

  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    check_sendable(tensor, name);
    SWITCHYARD_CHECK(root >= 0 && root < size(), "{}: broadcast from rank {} of {}", name, root,
                     size());
    const Result from_root = group_->enter(
        rank_, {.operation = Call::Operation::broadcast,
                .description = describe(fmt::format("broadcast from {}", root), name, tensor),
                .tensor = tensor,
                .root = root});
    tensor.copy_(from_root.tensor);
  }

  void barrier(std::string_view name) override {
    (void)group_->enter(rank_, {.operation = Call::Operation::barrier,
                                .description = fmt::format("barrier '{}'", name)});
  }

  void abandon() override { group_->abandon(rank_); }

  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    check_group(group, name);
    const Result result = group_->enter(rank_, {.operation = Call::Operation::split,
                                                .description = fmt::format("split '{}'", name),
                                                .group = group});
    const std::shared_ptr<Group>& own = result.groups.at(group);
    return std::make_unique<ThreadCommunicator>(own, own->rank_of(group_->member(rank_)));
  }

 private:
  std::shared_ptr<Group> group_;
  std::int64_t rank_;
};

template <typename Type>
void throw_if(const Error& error, const std::string& what) {
  if (dynamic_cast<const Type*>(&error) != nullptr) throw Type(what, error.hint());
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return words_of(exception);
  } catch (...) {
    return "something that is no std::exception was thrown";
  }
}

[[noreturn]] void rethrow_naming(std::int64_t rank, const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& typed) {
    const std::string what = fmt::format("rank {}: {}", rank, typed.what());
    throw_if<UsageError>(typed, what);
    throw_if<DataError>(typed, what);
    throw_if<StorageError>(typed, what);
    throw_if<NonFiniteError>(typed, what);
    throw_if<PreemptedError>(typed, what);
    throw_if<PeerError>(typed, what);
    throw_if<OutOfMemoryError>(typed, what);
    throw InternalError(what, typed.hint());
  } catch (const c10::Error&) {
    throw;  // whether memory ran out is in its type and its words, which are looked at elsewhere
  } catch (const std::exception& other) {
    const std::string what = fmt::format("rank {}: {}", rank, words_of(other));
    if (is_out_of_memory(other)) throw OutOfMemoryError(what);
    if (exit_code_of(other) == kExitStorage) throw StorageError(what);
    throw InternalError(what);
  } catch (...) {
    throw InternalError(fmt::format("rank {}: {}", rank, message_of(error)));
  }
}

}  // namespace

void run_ranks(std::int64_t num_ranks, const std::function<void(Communicator&)>& fn) {
  SWITCHYARD_CHECK(num_ranks >= 1, "{} ranks, expected 1 or more", num_ranks);
  const auto world = std::make_shared<World>(num_ranks);
  std::vector<std::int64_t> members(static_cast<std::size_t>(num_ranks));
  std::iota(members.begin(), members.end(), std::int64_t{0});
  const auto group = std::make_shared<Group>(world, "all ranks", std::move(members));
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(num_ranks));
  const auto run = [&](std::int64_t rank) {
    std::exception_ptr& error = errors[static_cast<std::size_t>(rank)];
    try {
      ThreadCommunicator communicator(group, rank);
      fn(communicator);
    } catch (...) {
      error = std::current_exception();
    }
    const std::scoped_lock lock(world->mutex);
    if (error) world->fail(rank, message_of(error));
    world->end(rank);
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (std::int64_t rank = 0; rank < num_ranks; ++rank) threads.emplace_back(run, rank);
    } catch (const std::exception& error) {  // the threads before it wait for this one
      const std::scoped_lock lock(world->mutex);
      world->fail(error.what());
      throw;
    }
  }
  if (const std::optional<std::int64_t> rank = world->failed_rank()) {
    rethrow_naming(*rank, errors[static_cast<std::size_t>(*rank)]);
  }
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    const std::exception_ptr& error = errors[static_cast<std::size_t>(rank)];
    if (error) rethrow_naming(rank, error);
  }
}

}  // namespace switchyard::comm
