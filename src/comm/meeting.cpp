#include "switchyard/comm/meeting.h"

#include <c10/util/Flags.h>
#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <vector>

#include "switchyard/core/error.h"

C10_DECLARE_int(caffe2_log_level);

namespace switchyard::comm {
namespace {

// While it lives LibTorch logs nothing: each try to connect would be an error with a stack trace.
class Quiet {
 public:
  Quiet() : before_(FLAGS_caffe2_log_level) {
    constexpr int kFatal = 3;
    if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = kFatal;
  }
  ~Quiet() { FLAGS_caffe2_log_level = before_; }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  int before_;
};

// LibTorch's messages go on with where in its source they were thrown.
std::string_view first_line(std::string_view text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::string meet(const RankEnvironment& ranks, const std::string& own,
                 std::chrono::seconds patience) {
  const MeetingPlace& place = ranks.meeting;
  SWITCHYARD_CHECK(place.is_named(), "ranks meet nowhere");
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(place.port);
  options.isServer = ranks.rank == 0 && !place.is_served;
  options.waitWorkers = false;
  options.timeout = patience;
  if (options.isServer && place.listening_socket >= 0) {
    options.masterListenFd = place.listening_socket;
  }
  const Quiet quiet;
  try {
    const auto store = c10::make_intrusive<c10d::TCPStore>(place.host, options);
    const std::string prefix = fmt::format("switchyard/{}/", place.attempt);
    const std::string text = prefix + "text";
    const std::string all_have_it = prefix + "all have it";
    if (ranks.rank == 0) store->set(text, std::vector<std::uint8_t>(own.begin(), own.end()));
    const std::vector<std::uint8_t> bytes = store->get(text);  // waits for it
    if (store->add(prefix + "count", 1) == ranks.num_ranks) store->set(all_have_it, {1});
    if (options.isServer) store->wait({all_have_it}, patience);  // the others still need it
    return {bytes.begin(), bytes.end()};
  } catch (const std::exception& error) {
    throw PeerError(
        fmt::format("rank {} of {}: the ranks do not meet at {}:{}: {}", ranks.rank,
                    ranks.num_ranks, place.host, place.port, first_line(error.what())),
        fmt::format("{} and {} must be the host of rank 0 and a port that is free there, for all "
                    "ranks; were all of them started?",
                    rank_variables::kHost, rank_variables::kPort));
  }
}

}  // namespace switchyard::comm
