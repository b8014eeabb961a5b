#include "switchyard/comm/mpi.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <future>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/agreement.h"
#include "comm/mpi_transfer.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/process.h"

namespace switchyard::comm {
namespace {

// Begins and ends MPI.
class Session {
 public:
  explicit Session(const MpiOptions& options) : options_(options) {
    int initialized = 0;
    MPI_Initialized(&initialized);
    SWITCHYARD_CHECK(initialized == 0, "MPI is joined once in a process");
    int provided = 0;
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS ||
        provided < MPI_THREAD_SERIALIZED) {
      throw PeerError("MPI does not start", "start the ranks with mpirun or srun");
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  // To finalise means to wait for all ranks, some of which may never come; MPI itself waits for
  // ever.
  ~Session() {
    if (!is_sound()) return;
    std::promise<void> done;
    const std::jthread patience([timeout = options_.timeout, is_done = done.get_future()] {
      if (is_done.wait_for(timeout) == std::future_status::ready) return;
      write_last_words(
          "another rank does not end: all is done, but nobody waits for it any longer");
      std::_Exit(kExitPeer);
    });
    MPI_Finalize();
    done.set_value();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] const MpiOptions& options() const { return options_; }
  void set_timeout(std::chrono::seconds timeout) { options_.timeout = timeout; }
  void abandon() { abandoned_ = true; }
  [[nodiscard]] bool is_abandoned() const { return abandoned_; }
  void give_up() { gave_up_ = true; }
  [[nodiscard]] bool is_sound() const { return !gave_up_ && std::uncaught_exceptions() == 0; }

 private:
  MpiOptions options_;
  bool gave_up_ = false;
  std::atomic<bool> abandoned_ = false;
};

// Elements that are added up at a time: bounds the buffers, and the counts that MPI takes.
constexpr std::int64_t kPiece = std::int64_t{1} << 22;

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(std::shared_ptr<Session> session, MPI_Comm comm, std::string group)
      : session_(std::move(session)), comm_(comm), group_(std::move(group)) {
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~MpiCommunicator() override {
    if (comm_ != MPI_COMM_WORLD && session_->is_sound()) MPI_Comm_free(&comm_);
  }

  [[nodiscard]] std::int64_t rank() const override { return rank_; }
  [[nodiscard]] std::int64_t size() const override { return size_; }

  // Every rank adds up one block of all tensors, in the order of ranks, and the blocks are
  // gathered.
  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    check_sendable(tensor, name);
    agree_on(describe("all_reduce_sum", name, tensor));
    const at::Tensor flat = tensor.view({-1});
    for (std::int64_t begin = 0; begin < flat.numel(); begin += kPiece) {
      add_up(flat.narrow(0, begin, std::min(kPiece, flat.numel() - begin)), name);
    }
  }

  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    check_blocks(own, all, size_, name);
    agree_on(describe("reduce_scatter_sum", name, all));
    const std::int64_t piece = std::max<std::int64_t>(1, kPiece / size_);
    for (std::int64_t begin = 0; begin < own.numel(); begin += piece) {
      const std::int64_t count = std::min(piece, own.numel() - begin);
      std::vector<at::Tensor> blocks;
      for (std::int64_t rank = 0; rank < size_; ++rank) {
        blocks.push_back(all.view({-1}).narrow(0, rank * own.numel() + begin, count));
      }
      const std::vector<std::int64_t> counts(static_cast<std::size_t>(size_), count);
      own.view({-1}).narrow(0, begin, count).copy_(sum_of_blocks(at::cat(blocks), counts, name));
    }
  }

  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    check_blocks(own, all, size_, name);
    agree_on(describe("all_gather", name, own));
    const std::int64_t piece = std::max<std::int64_t>(1, kPiece / size_);
    if (own.numel() <= piece) return gather_all(own, all, name);
    // MPI counts in 31 bits.
    for (std::int64_t begin = 0; begin < own.numel(); begin += piece) {
      const std::int64_t count = std::min(piece, own.numel() - begin);
      const at::Tensor part = at::empty({size_, count}, own.options());
      gather_all(own.view({-1}).narrow(0, begin, count), part.view({-1}), name);
      all.view({size_, own.numel()}).narrow(1, begin, count).copy_(part);
    }
  }

  void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                  const RankRows& receive_rows, std::string_view name) override {
    const std::size_t num_parts = check_rows(send, send_rows, receive, receive_rows, size_, name);
    check_on_host(send, name);
    agree_on(describe_rows(name, send, num_parts));
    if (session_->options().check_agreement) {
      agree_on_rows(send_rows, receive_rows, name, everybodys(name));
    }
    exchange(send, send_rows, receive, receive_rows, name);
  }

  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    check_sendable(tensor, name);
    SWITCHYARD_CHECK(root >= 0 && root < size_, "{}: broadcast from rank {} of {}", name, root,
                     size_);
    agree_on(describe(fmt::format("broadcast from {}", root), name, tensor));
    constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
    auto* bytes = static_cast<std::byte*>(tensor.mutable_data_ptr());
    const auto num_bytes = static_cast<std::int64_t>(tensor.nbytes());
    for (std::int64_t begin = 0; begin < num_bytes; begin += kMostBytes) {
      auto transfer = std::make_unique<Transfer>();
      transfer->send = tensor;
      check(MPI_Ibcast(bytes + begin, static_cast<int>(std::min(kMostBytes, num_bytes - begin)),
                       MPI_BYTE, static_cast<int>(root), comm_, &transfer->request),
            name);
      complete(std::move(transfer), "broadcast", name);
    }
  }

  void barrier(std::string_view name) override {
    agree_on(fmt::format("barrier '{}'", name));
    all_here(name);
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    check_group(group, name);
    agree_on(fmt::format("split '{}'", name));
    all_here(name);  // what follows has no limit of time
    MPI_Comm part = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, static_cast<int>(group), rank_, &part), name);
    return std::make_unique<MpiCommunicator>(session_, part, fmt::format("{} {}", name, group));
  }

  void set_timeout(std::chrono::seconds timeout) override { session_->set_timeout(timeout); }
  void abandon() override { session_->abandon(); }

 private:
  using Transfers = std::vector<std::unique_ptr<Transfer>>;

  static void check_on_host(const at::Tensor& tensor, std::string_view name) {
    SWITCHYARD_CHECK(tensor.is_cpu(), "'{}': MPI takes tensors in host memory, got one on {}", name,
                     tensor.device().str());
  }
  static std::string describe(std::string_view operation, std::string_view name,
                              const at::Tensor& tensor) {
    check_on_host(tensor, name);
    return comm::describe(operation, name, tensor);
  }

  void check(int status, std::string_view name) const {
    if (status == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(status, text.data(), &length);
    throw PeerError(fmt::format("rank {} of {}: '{}': {}", rank_, group_, name, text.data()));
  }

  // Most waits are short; a rank that waits long leaves its core to others. A transfer that fails
  // is never freed, nor are those beside it: MPI may still write to what they hold.
  void complete(Transfers transfers, const char* operation, std::string_view name) const {
    try {
      for (const auto& transfer : transfers) wait(transfer->request, operation, name);
    } catch (...) {
      session_->give_up();
      for (auto& transfer : transfers) (void)transfer.release();
      throw;
    }
  }
  void complete(std::unique_ptr<Transfer> transfer, const char* operation,
                std::string_view name) const {
    Transfers transfers;
    transfers.push_back(std::move(transfer));
    complete(std::move(transfers), operation, name);
  }

  void wait(MPI_Request& request, const char* operation, std::string_view name) const {
    using std::chrono::steady_clock;
    constexpr int kSpins = 2000;
    constexpr std::chrono::microseconds kNap{20};  // MPI moves data only while it is asked
    const steady_clock::time_point start = steady_clock::now();
    for (int tries = 0;; ++tries) {
      int done = 0;
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), name);
      if (done != 0) return;
      if (session_->is_abandoned()) {
        throw PeerError(fmt::format("{} '{}' was left: this rank has failed", operation, name));
      }
      if (tries < kSpins) continue;
      if (steady_clock::now() - start > session_->options().timeout) {
        throw PeerError(fmt::format("rank {} of {}: {} '{}' is not complete after {} s", rank_,
                                    group_, operation, name, session_->options().timeout.count()),
                        "another rank hangs or died: look at the logs of all ranks");
      }
      std::this_thread::sleep_for(kNap);
    }
  }

  void all_here(std::string_view name) const {
    auto transfer = std::make_unique<Transfer>();
    check(MPI_Ibarrier(comm_, &transfer->request), name);
    complete(std::move(transfer), "barrier", name);
  }

  static std::unique_ptr<Transfer> transfer_of(const at::Tensor& send, Spans send_rows,
                                               const at::Tensor& receive, Spans receive_rows) {
    auto transfer = std::make_unique<Transfer>();
    Transfer& t = *transfer;
    t.send = send;
    t.receive = receive;
    t.out = std::move(send_rows);
    t.in = std::move(receive_rows);
    // Of either: a rank may have no row to tell how large one is.
    const at::Tensor& sample = send.size(0) > 0 ? send : receive;
    t.row.emplace(sample, sample.size(0));
    return transfer;
  }

  // All parts at once.
  void exchange(const at::Tensor& send, const RankRows& send_rows, const at::Tensor& receive,
                const RankRows& receive_rows, std::string_view name) const {
    const std::size_t num_parts = send_rows.count.size() / static_cast<std::size_t>(size_);
    Transfers transfers;
    for (std::size_t part = 0; part < num_parts; ++part) {
      transfers.push_back(transfer_of(send, Spans(send_rows, part, num_parts), receive,
                                      Spans(receive_rows, part, num_parts)));
    }
    for (const auto& transfer : transfers) {
      Transfer& t = *transfer;
      check(MPI_Ialltoallv(t.send.const_data_ptr(), t.out.count.data(), t.out.offset.data(),
                           t.row->get(), t.receive.mutable_data_ptr(), t.in.count.data(),
                           t.in.offset.data(), t.row->get(), comm_, &t.request),
            name);
    }
    complete(std::move(transfers), "all_to_all", name);
  }

  // Replaces the flat `piece` by its sum over ranks.
  void add_up(at::Tensor piece, std::string_view name) const {
    const std::int64_t per_rank = (piece.numel() + size_ - 1) / size_;
    std::vector<std::int64_t> elements;
    for (std::int64_t rank = 0; rank < size_; ++rank) {
      elements.push_back(std::clamp<std::int64_t>(piece.numel() - rank * per_rank, 0, per_rank));
    }
    gather_rows(sum_of_blocks(piece, elements, name), piece, elements, name);
  }

  // This rank's block of the sum of `flat` [n] over ranks.
  [[nodiscard]] at::Tensor sum_of_blocks(const at::Tensor& flat,
                                         const std::vector<std::int64_t>& elements,
                                         std::string_view name) const {
    const std::int64_t own = elements[static_cast<std::size_t>(rank_)];
    at::Tensor blocks = at::empty({size_ * own}, flat.options());
    exchange(flat, elements, blocks,
             std::vector<std::int64_t>(static_cast<std::size_t>(size_), own), name);
    at::Tensor sum = blocks.narrow(0, 0, own).clone();
    for (std::int64_t rank = 1; rank < size_; ++rank) {
      sum.add_(blocks.narrow(0, rank * own, own));
    }
    return sum;
  }

  void gather_rows(const at::Tensor& own, const at::Tensor& all,
                   const std::vector<std::int64_t>& rows, std::string_view name) const {
    auto transfer = std::make_unique<Transfer>();
    Transfer& t = *transfer;
    t.send = own;
    t.receive = all;
    t.in = Spans(rows, /*idx=*/0, /*num_parts=*/1);
    t.row.emplace(all, all.size(0));
    check(MPI_Iallgatherv(own.const_data_ptr(), static_cast<int>(own.size(0)), t.row->get(),
                          all.mutable_data_ptr(), t.in.count.data(), t.in.offset.data(),
                          t.row->get(), comm_, &t.request),
          name);
    complete(std::move(transfer), "all_gather", name);
  }

  void gather_all(const at::Tensor& own, const at::Tensor& all, std::string_view name) const {
    gather_rows(own, all, std::vector<std::int64_t>(static_cast<std::size_t>(size_), own.size(0)),
                name);
  }

  // Everybody's `own` [n] of integers or bytes, without asking for agreement.
  [[nodiscard]] at::Tensor everybodys(const at::Tensor& own, std::string_view name) const {
    const at::Tensor all = at::empty({size_ * own.size(0)}, own.options());
    gather_all(own, all, name);
    return all.view({size_, own.size(0)});
  }

  [[nodiscard]] Gather everybodys(std::string_view name) const {
    return [this, name](const at::Tensor& own) { return everybodys(own, name); };
  }
  void agree_on(const std::string& description) const {
    if (!session_->options().check_agreement) return;
    agree(description, group_, everybodys(description));
  }

  std::shared_ptr<Session> session_;
  MPI_Comm comm_;
  std::string group_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

bool built_with_mpi() {
  return true;
}

std::unique_ptr<Communicator> join_mpi(const MpiOptions& options) {
  return std::make_unique<MpiCommunicator>(std::make_shared<Session>(options), MPI_COMM_WORLD,
                                           "all ranks");
}

void end_all_mpi_ranks(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace switchyard::comm
