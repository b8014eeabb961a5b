#include "switchyard/comm/nccl.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "comm/agreement.h"
#include "comm/nccl_check.h"
#include "comm/nccl_library.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

NcclType type_of(const at::Tensor& tensor, std::string_view name) {
  switch (tensor.scalar_type()) {
    case at::kByte:
      return NcclType::uint8;
    case at::kChar:
      return NcclType::int8;
    case at::kInt:
      return NcclType::int32;
    case at::kLong:
      return NcclType::int64;
    case at::kFloat:
      return NcclType::float32;
    case at::kDouble:
      return NcclType::float64;
    case at::kBFloat16:
      return NcclType::bfloat16;
    default:
      throw InternalError(
          fmt::format("'{}': NCCL sends no {}", name, at::toString(tensor.scalar_type())));
  }
}

std::size_t count_of(const at::Tensor& tensor) {
  return static_cast<std::size_t>(tensor.numel());
}

// What was begun on another stream of the device.
class StreamWork final : public Work {
 public:
  StreamWork(std::shared_ptr<c10::Event> done, c10::Device device,
             std::function<void()> collectives)
      : done_(std::move(done)), device_(device), collectives_(std::move(collectives)) {}
  ~StreamWork() override {
    if (!is_waited_for_ && std::uncaught_exceptions() == 0) come_after();
  }
  void wait() override {
    SWITCHYARD_CHECK(!std::exchange(is_waited_for_, true), "waited twice");
    come_after();
  }

 private:
  // The memory of its tensors is given back only to what is queued after them.
  void come_after() {
    done_->block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    collectives_ = nullptr;
  }

  std::shared_ptr<c10::Event> done_;
  c10::Device device_;
  std::function<void()> collectives_;
  bool is_waited_for_ = false;
};

// The communicators of a rank, which another thread asks for errors, and the stream for what goes
// on beside.
class Joined {
 public:
  // By the thread that trains.
  [[nodiscard]] c10::Stream stream_beside(c10::Device device) {
    if (!beside_) {
      beside_ = c10::impl::VirtualGuardImpl(device.type())
                    .getStreamFromGlobalPool(device, /*isHighPriority=*/true);
    }
    return *beside_;
  }
  void note_begun(std::shared_ptr<c10::Event> done) { last_begun_ = std::move(done); }
  // What `stream` gets from here on comes after all that was begun on the other one.
  void come_after_begun(const c10::Stream& stream) const {
    if (last_begun_ && beside_ && stream != *beside_) last_begun_->block(stream);
  }
  void add(NcclComm comm) {
    const std::scoped_lock lock(mutex_);
    comms_.insert(comm);
  }
  void remove(NcclComm comm) {
    const std::scoped_lock lock(mutex_);
    comms_.erase(comm);
  }
  [[nodiscard]] std::string error() const {
    const std::scoped_lock lock(mutex_);
    for (NcclComm const comm : comms_) {
      NcclResult error = NcclResult::success;
      if (nccl_library().CommGetAsyncError(comm, &error) != NcclResult::success) continue;
      if (error == NcclResult::success || error == NcclResult::in_progress) continue;
      return nccl_library().GetErrorString(error);
    }
    return {};
  }

 private:
  mutable std::mutex mutex_;
  std::set<NcclComm> comms_;
  std::optional<c10::Stream> beside_;
  std::shared_ptr<c10::Event> last_begun_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<Joined> joined, NcclComm comm, std::int64_t rank,
                   std::int64_t size, c10::Device device, bool check_agreement, std::string group)
      : joined_(std::move(joined)),
        comm_(comm),
        rank_(rank),
        size_(size),
        device_(device),
        check_agreement_(check_agreement),
        group_(std::move(group)) {
    joined_->add(comm_);
  }
  // To destroy means to wait for the others, and so does to abort. Where something went wrong they
  // may never come, and the process ends.
  ~NcclCommunicator() override {
    joined_->remove(comm_);
    if (std::uncaught_exceptions() > 0) return;
    const c10::DeviceGuard guard(device_);
    (void)nccl().CommDestroy(comm_);
  }

  [[nodiscard]] const Joined& joined() const { return *joined_; }

  [[nodiscard]] std::int64_t rank() const override { return rank_; }
  [[nodiscard]] std::int64_t size() const override { return size_; }

  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    check_sendable(tensor, name);
    agree_on(describe("all_reduce_sum", name, tensor));
    if (tensor.numel() > 0) sum(tensor, "all_reduce_sum", name);
  }

  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    check_blocks(own, all, size_, name);
    agree_on(describe("reduce_scatter_sum", name, all));
    if (all.numel() == 0) return;
    const at::Tensor all_here = on_device(all, name);
    at::Tensor own_here = room_on_device(own, name);
    queue("reduce_scatter_sum", name, [&](CudaStream stream) {
      return nccl().ReduceScatter(all_here.const_data_ptr(), own_here.mutable_data_ptr(),
                                  count_of(own_here), type_of(own, name), NcclSum::sum, comm_,
                                  stream);
    });
    bring_back(own_here, own);
  }

  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    check_blocks(own, all, size_, name);
    agree_on(describe("all_gather", name, own));
    gather(own, all, name);
  }

  // NCCL has no call for uneven rows: sends and receives of one group are under way together.
  void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                  const RankRows& receive_rows, std::string_view name) override {
    const std::size_t num_parts = check_rows(send, send_rows, receive, receive_rows, size_, name);
    agree_on(describe_rows(name, send, num_parts));
    if (check_agreement_) agree_on_rows(send_rows, receive_rows, name, everybodys(name));
    const at::Tensor from = on_device(send, name);
    // With the rows that are in no part.
    at::Tensor to = receive_rows.are_all ? room_on_device(receive, name) : on_device(receive, name);
    const std::size_t row_bytes =
        send.element_size() *
        static_cast<std::size_t>(c10::multiply_integers(send.sizes().slice(1)));
    queue("all_to_all", name, [&](CudaStream stream) {
      return exchange(from, send_rows, to, receive_rows, row_bytes, stream);
    });
    bring_back(to, receive);
  }

  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    check_sendable(tensor, name);
    SWITCHYARD_CHECK(root >= 0 && root < size_, "{}: broadcast from rank {} of {}", name, root,
                     size_);
    agree_on(describe(fmt::format("broadcast from {}", root), name, tensor));
    if (tensor.numel() == 0) return;
    at::Tensor here = on_device(tensor, name);
    queue("broadcast", name, [&](CudaStream stream) {
      return nccl().Broadcast(here.const_data_ptr(), here.mutable_data_ptr(), count_of(here),
                              type_of(here, name), static_cast<int>(root), comm_, stream);
    });
    bring_back(here, tensor);
  }

  void barrier(std::string_view name) override {
    agree_on(fmt::format("barrier '{}'", name));
    at::Tensor nothing = at::zeros({1}, at::kInt);
    sum(nothing, "barrier", name);
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    check_group(group, name);
    agree_on(fmt::format("split '{}'", name));
    at::Tensor groups = at::empty({size_}, at::kLong);
    at::Tensor own = at::empty({1}, at::kLong).fill_(group);
    gather(own, groups, name);
    const auto* of_rank = groups.const_data_ptr<std::int64_t>();
    NcclComm part = nullptr;
    const c10::DeviceGuard guard(device_);
    check_nccl(
        nccl().CommSplit(comm_, static_cast<int>(group), static_cast<int>(rank_), &part, nullptr),
        comm_, what("split", name));
    return std::make_unique<NcclCommunicator>(joined_, part,
                                              std::count(of_rank, of_rank + rank_, group),
                                              std::count(of_rank, of_rank + size_, group), device_,
                                              check_agreement_, fmt::format("{} {}", name, group));
  }

  // The stream is a rank's, not a group's: what it begins is in one order for all ranks.
  [[nodiscard]] std::unique_ptr<Work> begin(std::function<void()> collectives) override {
    const c10::Stream computes = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    const c10::Stream beside = joined_->stream_beside(device_);
    c10::Event computed(device_.type());
    computed.record(computes);
    computed.block(beside);
    auto done = std::make_shared<c10::Event>(device_.type());
    {
      const c10::StreamGuard guard(beside);
      collectives();
      done->record(beside);
    }
    joined_->note_begun(done);
    return std::make_unique<StreamWork>(std::move(done), device_, std::move(collectives));
  }

 private:
  static const NcclLibrary& nccl() { return nccl_library(); }

  [[nodiscard]] std::string what(std::string_view operation, std::string_view name) const {
    return fmt::format("rank {} of {}: {} '{}'", rank_, group_, operation, name);
  }

  // The tensor itself where it is on the device, a copy of one in host memory.
  [[nodiscard]] at::Tensor on_device(const at::Tensor& tensor, std::string_view name) const {
    SWITCHYARD_CHECK(tensor.is_cpu() || tensor.device() == device_,
                     "'{}': this rank sends from {}, got a tensor on {}", name, device_.str(),
                     tensor.device().str());
    return tensor.to(device_);
  }
  [[nodiscard]] at::Tensor room_on_device(const at::Tensor& tensor, std::string_view name) const {
    return tensor.is_cpu() ? at::empty_like(tensor, tensor.options().device(device_))
                           : on_device(tensor, name);
  }
  static void bring_back(const at::Tensor& here, at::Tensor& tensor) {
    if (!here.is_same(tensor)) tensor.copy_(here);
  }

  // `start(stream)` with torch's current stream of the device, which is the thread's then.
  template <typename Start>
  void queue(std::string_view operation, std::string_view name, const Start& start) const {
    const c10::DeviceGuard guard(device_);
    const c10::Stream stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    joined_->come_after_begun(stream);
    check_nccl(start(stream.native_handle()), comm_, what(operation, name));
  }

  void sum(at::Tensor& tensor, std::string_view operation, std::string_view name) const {
    const at::Tensor here = on_device(tensor, name);
    queue(operation, name, [&](CudaStream stream) {
      return nccl().AllReduce(here.const_data_ptr(), here.mutable_data_ptr(), count_of(here),
                              type_of(here, name), NcclSum::sum, comm_, stream);
    });
    bring_back(here, tensor);
  }

  void gather(const at::Tensor& own, at::Tensor& all, std::string_view name) const {
    if (all.numel() == 0) return;
    const at::Tensor own_here = on_device(own, name);
    at::Tensor all_here = room_on_device(all, name);
    queue("all_gather", name, [&](CudaStream stream) {
      return nccl().AllGather(own_here.const_data_ptr(), all_here.mutable_data_ptr(),
                              count_of(own_here), type_of(own, name), comm_, stream);
    });
    bring_back(all_here, all);
  }

  // Every group ends, whatever comes in between.
  [[nodiscard]] NcclResult exchange(const at::Tensor& send, const RankRows& send_rows,
                                    const at::Tensor& receive, const RankRows& receive_rows,
                                    std::size_t row_bytes, CudaStream stream) const {
    const auto* from = static_cast<const std::byte*>(send.const_data_ptr());
    auto* to = static_cast<std::byte*>(receive.mutable_data_ptr());
    const auto bytes = [row_bytes](std::int64_t rows) {
      return static_cast<std::size_t>(rows) * row_bytes;
    };
    NcclResult first = nccl().GroupStart();
    const auto note = [&first](NcclResult result) {
      if (first == NcclResult::success) first = result;
    };
    const std::size_t num_parts = send_rows.count.size() / static_cast<std::size_t>(size_);
    for (std::size_t i = 0; i < send_rows.count.size(); ++i) {
      const int peer = static_cast<int>(i / num_parts);
      const auto* const out = from + bytes(send_rows.first[i]);
      auto* const in = to + bytes(receive_rows.first[i]);
      const std::size_t out_bytes = bytes(send_rows.count[i]);
      const std::size_t in_bytes = bytes(receive_rows.count[i]);
      if (out_bytes > 0) note(nccl().Send(out, out_bytes, NcclType::uint8, peer, comm_, stream));
      if (in_bytes > 0) note(nccl().Recv(in, in_bytes, NcclType::uint8, peer, comm_, stream));
    }
    note(nccl().GroupEnd());
    return first;
  }

  // Everybody's [n] of host memory as [R, n], without asking for agreement.
  [[nodiscard]] Gather everybodys(std::string_view name) const {
    return [this, name](const at::Tensor& own) {
      at::Tensor all = at::empty({size_ * own.size(0)}, own.options());
      gather(own, all, name);
      return all.view({size_, own.size(0)});
    };
  }
  void agree_on(const std::string& description) const {
    if (check_agreement_) agree(description, group_, everybodys(description));
  }

  std::shared_ptr<Joined> joined_;
  NcclComm comm_;
  std::int64_t rank_;
  std::int64_t size_;
  c10::Device device_;
  bool check_agreement_;
  std::string group_;
};

}  // namespace

void choose_nccl_settings(bool deterministic) {
  // Left to itself it allocates the buffers of an algorithm that adds up or gathers at its first
  // use, in the first steps, when LibTorch holds what was free. Those of sends still come then.
  ::setenv("NCCL_RUNTIME_CONNECT", "0", /*overwrite=*/0);
  // The switches of a node, and of several, add up in any order.
  if (deterministic) ::setenv("NCCL_ALGO", "^NVLS,NVLSTree", /*overwrite=*/0);
}

std::string new_nccl_id() {
  NcclUniqueId id;
  check_nccl(nccl_library().GetUniqueId(&id), nullptr, "beginning to connect ranks");
  return {id.bytes.begin(), id.bytes.end()};
}

std::unique_ptr<Communicator> join_nccl(const NcclOptions& options) {
  NcclUniqueId id;
  SWITCHYARD_CHECK(options.id.size() == id.bytes.size(), "an NCCL id of {} bytes",
                   options.id.size());
  SWITCHYARD_CHECK(options.device.is_cuda() && options.device.has_index(), "NCCL on {}",
                   options.device.str());
  std::copy(options.id.begin(), options.id.end(), id.bytes.begin());
  const c10::DeviceGuard guard(options.device);
  NcclComm comm = nullptr;
  check_nccl(nccl_library().CommInitRank(&comm, static_cast<int>(options.num_ranks), id,
                                         static_cast<int>(options.rank)),
             nullptr,
             fmt::format("connecting rank {} of {} on {}", options.rank, options.num_ranks,
                         options.device.str()));
  return std::make_unique<NcclCommunicator>(std::make_shared<Joined>(), comm, options.rank,
                                            options.num_ranks, options.device,
                                            options.check_agreement, "all ranks");
}

std::string nccl_error(const Communicator& ranks) {
  const auto* const own = dynamic_cast<const NcclCommunicator*>(&ranks);
  return own == nullptr ? "" : own->joined().error();
}

}  // namespace switchyard::comm
