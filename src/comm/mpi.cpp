#include "switchyard/comm/mpi.h"

#include <ATen/ops/empty.h>

#define OMPI_SKIP_MPICXX 1  // MPI's C++ bindings are no longer part of it
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

// Begins and ends MPI.
class Session {
 public:
  explicit Session(const MpiOptions& options) : options_(options) {
    int provided = 0;
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS ||
        provided < MPI_THREAD_SERIALIZED) {
      throw PeerError("MPI does not start", "start the ranks with mpirun or srun");
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  ~Session() { MPI_Finalize(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] const MpiOptions& options() const { return options_; }

 private:
  MpiOptions options_;
};

// Elements that are added up at a time: bounds the buffers, and the counts that MPI takes.
constexpr std::int64_t kPiece = std::int64_t{1} << 22;

// Rows of a tensor as one unit, so that counts stay small however large a row is.
class RowType {
 public:
  RowType(const at::Tensor& tensor, std::int64_t num_rows) {
    const std::int64_t bytes =
        num_rows == 0 ? 0 : static_cast<std::int64_t>(tensor.nbytes()) / num_rows;
    SWITCHYARD_CHECK(bytes <= std::numeric_limits<int>::max(), "a row of {} bytes", bytes);
    MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &type_);
    MPI_Type_commit(&type_);
  }
  ~RowType() { MPI_Type_free(&type_); }
  RowType(const RowType&) = delete;
  RowType& operator=(const RowType&) = delete;
  [[nodiscard]] MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

// Counts and offsets as MPI takes them.
struct Spans {
  std::vector<int> count;
  std::vector<int> offset;

  explicit Spans(std::span<const std::int64_t> rows) {
    std::int64_t begin = 0;
    for (const std::int64_t each : rows) {
      SWITCHYARD_CHECK(begin + each <= std::numeric_limits<int>::max(), "{} rows at a time",
                       begin + each);
      count.push_back(static_cast<int>(each));
      offset.push_back(static_cast<int>(begin));
      begin += each;
    }
  }
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(std::shared_ptr<Session> session, MPI_Comm comm, std::string group)
      : session_(std::move(session)), comm_(comm), group_(std::move(group)) {
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~MpiCommunicator() override {
    if (comm_ != MPI_COMM_WORLD) MPI_Comm_free(&comm_);
  }

  [[nodiscard]] std::int64_t rank() const override { return rank_; }
  [[nodiscard]] std::int64_t size() const override { return size_; }

  // Every rank adds up one block of all tensors, in the order of ranks, and the blocks are
  // gathered.
  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    check_sendable(tensor, name);
    agree(describe("all_reduce_sum", name, tensor));
    const at::Tensor flat = tensor.view({-1});
    for (std::int64_t begin = 0; begin < flat.numel(); begin += kPiece) {
      add_up(flat.narrow(0, begin, std::min(kPiece, flat.numel() - begin)), name);
    }
  }

  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    check_blocks(own, all, size_, name);
    agree(describe("reduce_scatter_sum", name, all));
    const std::vector<std::int64_t> elements(static_cast<std::size_t>(size_), own.numel());
    own.view({-1}).copy_(sum_of_blocks(all.view({-1}), elements, name));
  }

  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    check_blocks(own, all, size_, name);
    agree(describe("all_gather", name, own));
    gather_rows(own, all, std::vector<std::int64_t>(static_cast<std::size_t>(size_), own.size(0)),
                name);
  }

  void all_to_all(const at::Tensor& send, std::span<const std::int64_t> send_rows,
                  at::Tensor& receive, std::span<const std::int64_t> receive_rows,
                  std::string_view name) override {
    check_rows(send, send_rows, receive, receive_rows, size_, name);
    agree(describe("all_to_all", name, send.narrow(0, 0, 0)));
    if (session_->options().check_agreement) agree_on_rows(send_rows, receive_rows, name);
    exchange(send, send_rows, receive, receive_rows, name);
  }

  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    check_sendable(tensor, name);
    SWITCHYARD_CHECK(root >= 0 && root < size_, "{}: broadcast from rank {} of {}", name, root,
                     size_);
    agree(describe(fmt::format("broadcast from {}", root), name, tensor));
    constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
    auto* bytes = static_cast<std::byte*>(tensor.mutable_data_ptr());
    const auto num_bytes = static_cast<std::int64_t>(tensor.nbytes());
    for (std::int64_t begin = 0; begin < num_bytes; begin += kMostBytes) {
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Ibcast(bytes + begin, static_cast<int>(std::min(kMostBytes, num_bytes - begin)),
                       MPI_BYTE, static_cast<int>(root), comm_, &request),
            name);
      wait(request, "broadcast", name);
    }
  }

  void barrier(std::string_view name) override {
    agree(fmt::format("barrier '{}'", name));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibarrier(comm_, &request), name);
    wait(request, "barrier", name);
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    agree(fmt::format("split '{}'", name));
    MPI_Comm part = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, static_cast<int>(group), rank_, &part), name);
    return std::make_unique<MpiCommunicator>(session_, part, fmt::format("{} {}", name, group));
  }

 private:
  static std::string describe(std::string_view operation, std::string_view name,
                              const at::Tensor& tensor) {
    return fmt::format("{} '{}' of {} [{}]", operation, name, at::toString(tensor.scalar_type()),
                       fmt::join(tensor.sizes(), ", "));
  }

  void check(int status, std::string_view name) const {
    if (status == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(status, text.data(), &length);
    throw PeerError(fmt::format("rank {} of {}: '{}': {}", rank_, group_, name, text.data()));
  }

  // Most waits are short; a rank that waits long leaves its core to others.
  void wait(MPI_Request& request, const char* operation, std::string_view name) const {
    using std::chrono::steady_clock;
    constexpr int kSpins = 2000;
    const steady_clock::time_point start = steady_clock::now();
    std::chrono::microseconds nap{10};
    for (int tries = 0;; ++tries) {
      int done = 0;
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), name);
      if (done != 0) return;
      if (tries < kSpins) continue;
      if (steady_clock::now() - start > session_->options().timeout) {
        throw PeerError(fmt::format("rank {} of {}: {} '{}' is not complete after {} s", rank_,
                                    group_, operation, name, session_->options().timeout.count()),
                        "another rank hangs or died: look at the logs of all ranks");
      }
      std::this_thread::sleep_for(nap);
      nap = std::min(2 * nap, std::chrono::microseconds{1000});
    }
  }

  void exchange(const at::Tensor& send, std::span<const std::int64_t> send_rows,
                at::Tensor& receive, std::span<const std::int64_t> receive_rows,
                std::string_view name) const {
    const Spans out(send_rows);
    const Spans in(receive_rows);
    // Of either: a rank may have no row to tell how large one is.
    const RowType row =
        send.size(0) > 0 ? RowType(send, send.size(0)) : RowType(receive, receive.size(0));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ialltoallv(send.const_data_ptr(), out.count.data(), out.offset.data(), row.get(),
                         receive.mutable_data_ptr(), in.count.data(), in.offset.data(), row.get(),
                         comm_, &request),
          name);
    wait(request, "all_to_all", name);
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

  void gather_rows(const at::Tensor& own, at::Tensor& all, const std::vector<std::int64_t>& rows,
                   std::string_view name) const {
    const Spans in(rows);
    const RowType row(all, all.size(0));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Iallgatherv(own.const_data_ptr(), static_cast<int>(own.size(0)), row.get(),
                          all.mutable_data_ptr(), in.count.data(), in.offset.data(), row.get(),
                          comm_, &request),
          name);
    wait(request, "all_gather", name);
  }

  // Throws on every rank when they are not all in the same collective.
  void agree(const std::string& description) const {
    if (!session_->options().check_agreement) return;
    constexpr std::size_t kMost = 256;
    std::array<char, kMost> own{};
    std::memcpy(own.data(), description.data(), std::min(description.size(), kMost - 1));
    std::vector<char> all(kMost * static_cast<std::size_t>(size_));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Iallgather(own.data(), kMost, MPI_BYTE, all.data(), kMost, MPI_BYTE, comm_, &request),
          description);
    wait(request, "agreement on", description);
    for (int rank = 1; rank < size_; ++rank) {
      const char* other = all.data() + kMost * static_cast<std::size_t>(rank);
      SWITCHYARD_CHECK(std::string_view(other) == all.data(),
                       "rank {} of {} is in {}, rank 0 in {}", rank, group_, other, all.data());
    }
  }

  void agree_on_rows(std::span<const std::int64_t> send_rows,
                     std::span<const std::int64_t> receive_rows, std::string_view name) const {
    std::vector<std::int64_t> announced(static_cast<std::size_t>(size_));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ialltoall(send_rows.data(), 1, MPI_INT64_T, announced.data(), 1, MPI_INT64_T, comm_,
                        &request),
          name);
    wait(request, "agreement on", name);
    const bool differs = !std::equal(announced.begin(), announced.end(), receive_rows.begin());
    int own = differs ? 1 : 0;
    int any = 0;
    check(MPI_Iallreduce(&own, &any, 1, MPI_INT, MPI_MAX, comm_, &request), name);
    wait(request, "agreement on", name);
    SWITCHYARD_CHECK(any == 0, "'{}': ranks send {} rows to rank {} of {}, which expects {}{}",
                     name, fmt::join(announced, ", "), rank_, group_, fmt::join(receive_rows, ", "),
                     differs ? "" : "; elsewhere they differ");
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
