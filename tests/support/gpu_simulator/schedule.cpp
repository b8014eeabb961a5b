// Runs the blocks of a launch one after the other and the threads of a block as fibres.
#include "support/gpu_simulator/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/gpu_simulator/memory_check.h"
#include "support/gpu_simulator/shared_limit.h"
#include "support/gpu_simulator/symbols.h"
#include "support/gpu_simulator/warp.h"

namespace switchyard::gpu_simulator {

Position g_position;
constinit thread_local const std::byte* running_stack = nullptr;

std::string place_name(const std::source_location& where) {
  std::string_view file = where.file_name();
  if (const auto slash = file.rfind('/'); slash != file.npos) file.remove_prefix(slash + 1);
  return fmt::format("{}:{}", file, where.line());
}

namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxGridYZ = 65535;
constexpr std::size_t kMaxArgumentBytes = 4096;

enum class State { ready, at_block_barrier, in_warp_collective, finished };

struct Thread {
  State state = State::ready;
  Index3 index{0, 0, 0};
  bool predicate = false;
  std::source_location where;
  WarpLane lane;
  Fibre fibre;
};

struct Warp {
  unsigned waiting = 0;  // lanes in a collective
  unsigned epoch = 0;
};

std::size_t volume(const Index3& size) {
  return std::size_t{size.x} * size.y * size.z;
}
Index3 unflatten(std::size_t i, const Index3& size) {
  return {static_cast<unsigned>(i % size.x), static_cast<unsigned>(i / size.x % size.y),
          static_cast<unsigned>(i / size.x / size.y)};
}
std::string to_text(const Index3& index) {
  return fmt::format("({}, {}, {})", index.x, index.y, index.z);
}
bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

// "threads 0-31, 40"
std::string ranges(const std::vector<unsigned>& threads) {
  std::string text = threads.size() == 1 ? "thread " : "threads ";
  for (std::size_t i = 0; i < threads.size();) {
    std::size_t end = i + 1;
    while (end < threads.size() && threads[end] == threads[end - 1] + 1) ++end;
    text += (i == 0 ? "" : ", ") + std::to_string(threads[i]);
    if (end - i > 1) text += '-' + std::to_string(threads[end - 1]);
    i = end;
  }
  return text;
}

struct Launch {
  const KernelCall* call = nullptr;
  LaunchShape shape;
  std::size_t block = 0;
  std::byte* dynamic_shared = nullptr;
};

class Scheduler {
 public:
  void run(const KernelCall& call, const LaunchShape& shape) {
    launch_ = {.call = &call, .shape = shape};
    g_position = {.block_dim = shape.block, .grid_dim = shape.grid};
    num_threads_ = static_cast<unsigned>(volume(shape.block));
    while (threads_.size() < num_threads_) threads_.push_back(std::make_unique<Thread>());
    random_.seed(seed() + ++num_launches_);
    const std::unique_ptr<void, void (*)(void*)> dynamic_shared(
        shape.shared_bytes == 0 ? nullptr : allocate(shape.shared_bytes), &release);
    launch_.dynamic_shared = static_cast<std::byte*>(dynamic_shared.get());
    watch_launch(call.kernel);
    std::vector<std::size_t> blocks(volume(shape.grid));
    std::iota(blocks.begin(), blocks.end(), std::size_t{0});
    std::shuffle(blocks.begin(), blocks.end(), random_);
    for (const std::size_t block : blocks) run_block(block);
  }

  int block_barrier(bool predicate, std::source_location where) {
    Thread& thread = *threads_[running_.thread];
    thread.predicate = predicate;
    thread.where = where;
    thread.state = State::at_block_barrier;
    if (++num_at_barrier_ == num_threads_) release_block_barrier();
    Fibre::suspend();
    return num_votes_;
  }

  std::uint64_t warp_collective(const WarpRequest& request) {
    const unsigned self = running_.thread;
    const unsigned lane = self % kWarp;
    Thread& thread = *threads_[self];
    Warp& warp = warps_[self / kWarp];
    if ((request.mask >> lane & 1U) == 0) {
      fail(fmt::format("thread {} calls {} at {} with a mask {:#x} that leaves out its own lane {}",
                       thread_name(self), name(request.op), place_name(request.where), request.mask,
                       lane));
    }
    thread.lane.request = request;
    warp.waiting |= 1U << lane;
    if ((warp.waiting & request.mask) == request.mask && all_ask_alike(self, request)) {
      complete(self - lane, request);
      warp.waiting &= ~request.mask;
      for (unsigned i = 0; i < kWarp; ++i) {
        if (i != lane && (request.mask >> i & 1U) != 0) make_ready(self - lane + i);
      }
    } else {
      thread.state = State::in_warp_collective;
      Fibre::suspend();
    }
    running_.warp_epoch = warp.epoch;
    return thread.lane.result;
  }

  [[noreturn]] void fail(const std::string& what) {
    error_ = fmt::format("kernel {}, block {}: {} (seed {})", name_of(launch_.call->kernel),
                         block_name(launch_.block), what, seed());
    Fibre::suspend();
    std::abort();
  }

  void finish() {
    threads_[running_.thread]->state = State::finished;
    ++num_finished_;
    Fibre::suspend();
  }

  [[nodiscard]] const RunningThread* running() const {
    return running_stack != nullptr ? &running_ : nullptr;
  }
  [[nodiscard]] const Launch& launch() const { return launch_; }
  [[nodiscard]] std::string block_name(std::size_t block) const {
    return to_text(unflatten(block, launch_.shape.grid));
  }
  [[nodiscard]] std::string thread_name(unsigned thread) const {
    return to_text(unflatten(thread, launch_.shape.block));
  }

 private:
  static void enter_thread();

  void run_block(std::size_t block) {
    launch_.block = block;
    g_position.block = unflatten(block, launch_.shape.grid);
    watch_block(launch_.dynamic_shared, launch_.shape.shared_bytes);
    warps_.assign((num_threads_ + kWarp - 1) / kWarp, Warp{});
    num_finished_ = 0;
    num_at_barrier_ = 0;
    ready_.clear();
    for (unsigned i = 0; i < num_threads_; ++i) {
      threads_[i]->index = unflatten(i, launch_.shape.block);
      threads_[i]->fibre.start(&enter_thread);
      make_ready(i);
    }
    while (!ready_.empty()) {
      const std::size_t pick = random_() % ready_.size();
      const unsigned thread = ready_[pick];
      ready_[pick] = ready_.back();
      ready_.pop_back();
      running_ = {thread, warps_[thread / kWarp].epoch};
      g_position.thread = threads_[thread]->index;
      running_stack = threads_[thread]->fibre.stack();
      threads_[thread]->fibre.resume();
      running_stack = nullptr;
      if (!error_.empty()) {
        const std::string error = std::move(error_);
        error_.clear();
        throw KernelError(error);
      }
    }
    if (num_finished_ < num_threads_) throw KernelError(describe_deadlock());
  }

  void make_ready(unsigned thread) {
    threads_[thread]->state = State::ready;
    ready_.push_back(thread);
  }

  void release_block_barrier() {
    num_votes_ = 0;
    for (unsigned i = 0; i < num_threads_; ++i) {
      if (!same_place(threads_[i]->where, threads_[0]->where)) {
        fail(fmt::format("divergent barrier: thread {} waits at __syncthreads {}, thread {} at {}",
                         thread_name(0), place_name(threads_[0]->where), thread_name(i),
                         place_name(threads_[i]->where)));
      }
      num_votes_ += threads_[i]->predicate ? 1 : 0;
      make_ready(i);
    }
    num_at_barrier_ = 0;
    for (Warp& warp : warps_) warp.epoch = 0;
    watch_block_barrier();
  }

  bool all_ask_alike(unsigned self, const WarpRequest& request) {
    const unsigned first = self - self % kWarp;
    for (unsigned i = 0; i < kWarp; ++i) {
      if ((request.mask >> i & 1U) == 0) continue;
      const WarpRequest& other = threads_[first + i]->lane.request;
      if (other.mask != request.mask) return false;
      if (other.op != request.op || !same_place(other.where, request.where)) {
        fail(fmt::format("divergent warp: thread {} is in {} at {}, thread {} in {} at {}",
                         thread_name(self), name(request.op), place_name(request.where),
                         thread_name(first + i), name(other.op), place_name(other.where)));
      }
    }
    return true;
  }

  void complete(unsigned first, const WarpRequest& request) {
    std::array<WarpLane*, kWarp> lanes{};
    for (unsigned i = 0; i < kWarp; ++i) {
      if ((request.mask >> i & 1U) != 0) lanes[i] = &threads_[first + i]->lane;
    }
    const std::string mistake = complete_collective(lanes, request.mask);
    if (!mistake.empty()) {
      fail(fmt::format("warp {} at {}: {}", first / kWarp, place_name(request.where), mistake));
    }
    if (request.op != WarpOp::barrier) return;
    const unsigned lanes_of_warp = std::min(kWarp, num_threads_ - first);
    if (request.mask != (lanes_of_warp == kWarp ? ~0U : (1U << lanes_of_warp) - 1)) {
      fail(fmt::format("__syncwarp at {} with a part of the warp, {:#x}: not simulated",
                       place_name(request.where), request.mask));
    }
    ++warps_[first / kWarp].epoch;
  }

  std::string describe_deadlock() {
    std::map<std::string, std::vector<unsigned>> groups;
    for (unsigned i = 0; i < num_threads_; ++i) {
      const Thread& thread = *threads_[i];
      if (thread.state == State::finished) {
        groups["finished"].push_back(i);
      } else if (thread.state == State::at_block_barrier) {
        groups["at __syncthreads, " + place_name(thread.where)].push_back(i);
      } else {
        groups[fmt::format("in {} of lanes {:#x}, {}", name(thread.lane.request.op),
                           thread.lane.request.mask, place_name(thread.lane.request.where))]
            .push_back(i);
      }
    }
    std::string text = fmt::format("kernel {}, block {}: divergent barrier, nobody can continue: ",
                                   name_of(launch_.call->kernel), block_name(launch_.block));
    for (const auto& [where, threads] : groups) text += ranges(threads) + ' ' + where + "; ";
    return text + fmt::format("seed {}", seed());
  }

  Launch launch_;
  RunningThread running_;
  unsigned num_threads_ = 0;
  unsigned num_finished_ = 0;
  unsigned num_at_barrier_ = 0;
  int num_votes_ = 0;
  std::uint64_t num_launches_ = 0;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  std::vector<unsigned> ready_;
  std::string error_;
};

Scheduler& scheduler() {
  static Scheduler instance;
  return instance;
}

void Scheduler::enter_thread() {
  // By value, as a GPU passes arguments: no thread sees what another does to its copy.
  alignas(64) std::byte arguments[kMaxArgumentBytes];
  const KernelCall& call = *scheduler().launch_.call;
  std::memcpy(arguments, call.arguments, call.argument_bytes);
  call.invoke(arguments);
  scheduler().finish();
}

// Device memory is open to kernels while this lives.
struct LaunchWindow {
  LaunchWindow() { begin_launch(); }
  ~LaunchWindow() { end_launch(); }
  LaunchWindow(const LaunchWindow&) = delete;
  LaunchWindow& operator=(const LaunchWindow&) = delete;
};

// Of launches and of what they share.
std::mutex& launch_mutex() {
  static std::mutex mutex;
  return mutex;
}

std::uint64_t first_seed() {
  if (const char* text = std::getenv("SWITCHYARD_GPU_SIMULATOR_SEED")) {
    return std::strtoull(text, nullptr, 10);
  }
  return std::random_device()() % 1000000;
}
std::uint64_t& current_seed() {
  static std::uint64_t value = first_seed();
  return value;
}

}  // namespace

bool run_kernel(const KernelCall& call, const LaunchShape& shape) {
  const std::scoped_lock lock(launch_mutex());
  const std::size_t threads = volume(shape.block);
  if (threads == 0 || threads > kMaxThreads || shape.block.z > 64 || volume(shape.grid) == 0 ||
      shape.grid.x > 0x7FFFFFFFU || shape.grid.y > kMaxGridYZ || shape.grid.z > kMaxGridYZ ||
      !may_share(call.kernel, shape.shared_bytes) || call.argument_bytes > kMaxArgumentBytes) {
    return false;
  }
  const LaunchWindow window;
  scheduler().run(call, shape);
  return true;
}

int block_barrier(bool predicate, std::source_location where) {
  return scheduler().block_barrier(predicate, where);
}
std::uint64_t warp_collective(const WarpRequest& request) {
  return scheduler().warp_collective(request);
}
void* dynamic_shared_memory() {
  return scheduler().launch().dynamic_shared;
}

const RunningThread* running_thread() {
  return scheduler().running();
}
std::string thread_name(unsigned thread) {
  return scheduler().thread_name(thread);
}
std::string block_name(std::size_t block) {
  return scheduler().block_name(block);
}
std::size_t running_block() {
  return scheduler().launch().block;
}
void fail(const std::string& what) {
  scheduler().fail(what);
}

std::uint64_t seed() {
  return current_seed();
}
void set_seed(std::uint64_t seed) {
  current_seed() = seed;
}

}  // namespace switchyard::gpu_simulator
