#include "train/run/joint_save.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "switchyard/comm/text.h"
#include "switchyard/core/error.h"
#include "switchyard/core/host.h"
#include "switchyard/core/log.h"
#include "switchyard/core/ranks.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/ops/out_of_memory.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder = "folder of a checkpoint";
constexpr const char* kFiles = "files of a checkpoint";

// Memory that all ranks of this machine may still take together; none where the system does not
// tell. Others are taken to hold as much as this one.
std::optional<std::uint64_t> available_memory(std::uint64_t num_ranks) {
  const HostFacts host = read_host_facts();
  if (host.available_memory_bytes == 0) return std::nullopt;
  std::uint64_t available = host.available_memory_bytes;
  if (host.memory_limit_bytes) {
    // The limit is of all of them.
    const std::uint64_t held = num_ranks * resident_bytes();
    available =
        std::min(available, *host.memory_limit_bytes - std::min(held, *host.memory_limit_bytes));
  }
  return available;
}

}  // namespace

JointSave::JointSave(comm::Communicator& world, const fs::path& checkpoints,
                     checkpoint::SaveRequest request, std::function<void()> check_place)
    : world_(world), request_(std::move(request)), check_place_(std::move(check_place)) {
  if (world_.rank() == 0) {
    try {
      check_place_();
      started_ =
          std::make_unique<checkpoint::StartedSave>(checkpoints, request_.step, request_.is_sound);
      folder_ = started_->folder();
    } catch (const StorageError&) {
      cannot_start_ = std::current_exception();
    }
  }
  if (world_.size() > 1) folder_ = comm::text_of_first(world_, folder_.string(), kFolder);
}

JointSave::Written JointSave::write_files(const checkpoint::WritePlan& plan) const {
  Written written;
  format::Json told;
  try {
    for (const auto& [file, digest] :
         checkpoint::write_files_of(static_cast<int>(world_.rank()), plan, folder_, &given_up_)) {
      told["files"][file] = {{"bytes", digest.bytes}, {"xxh3", digest.xxh3}};
    }
  } catch (const StorageError& error) {
    told["error"] = error.what();
    written.error = std::current_exception();
  }
  written.told = format::json_text(told);
  return written;
}

void JointSave::write() {
  copy_.reset();  // of a rank that could, where another could not
  if (!folder_.empty()) written_ = write_files(request_.plan);
}

bool JointSave::copy() {
  const std::uint64_t needed = checkpoint::bytes_of(request_.plan);
  const auto all_ranks_here = static_cast<std::uint64_t>(
      std::max<std::int64_t>(1, read_rank_environment().num_local_ranks));
  // The system promises more than it has, and ends who takes it at its word.
  const std::uint64_t available = available_memory(all_ranks_here).value_or(kUnlimited);
  std::string reason;
  if (needed > available / all_ranks_here) {
    reason = fmt::format("{} are left to {}", format_bytes(available),
                         counted(static_cast<std::int64_t>(all_ranks_here), "rank"));
  } else {
    try {
      copy_ = checkpoint::copied_to_host(request_.plan);
      return true;
    } catch (const std::exception& error) {
      if (!ops::is_out_of_memory(error)) throw;
      reason = ops::short_message(error);
    }
  }
  log::warning(
      "step {}: no memory for a copy of {} to save beside training; training waits for this "
      "checkpoint ({})",
      request_.step, format_bytes(needed), reason);
  return false;
}

void JointSave::write_beside() {
  if (folder_.empty()) return;
  SWITCHYARD_CHECK(copy_.has_value(), "step {}: nothing was copied", request_.step);
  try {
    under_way_ = std::async(std::launch::async, [this] { return write_files(*copy_); });
  } catch (const std::system_error& error) {  // no more threads
    log::warning("step {}: training waits for this checkpoint: {}", request_.step, error.what());
    write();
  }
}

bool JointSave::is_written() const {
  return !under_way_.valid() ||
         under_way_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

fs::path JointSave::finish() {
  if (cannot_start_) std::rethrow_exception(cannot_start_);
  if (folder_.empty()) return {};  // the leader could not even begin
  if (under_way_.valid()) written_ = under_way_.get();
  std::vector<std::string> told = {written_.told};
  if (world_.size() > 1) told = comm::all_gather_text(world_, written_.told, kFiles);
  if (!started_) return {};
  if (written_.error) std::rethrow_exception(written_.error);
  std::map<std::string, FileDigest> files;
  for (std::size_t rank = 0; rank < told.size(); ++rank) {
    const format::Json answer = format::parse_json(told[rank], kFiles);
    if (answer.contains("error")) {
      throw StorageError(fmt::format("rank {}: {}", rank, answer["error"].get<std::string>()),
                         "all ranks write into the folder of the run");
    }
    if (!answer.contains("files")) continue;
    for (const auto& [file, digest] : answer["files"].items()) {
      files[file] = {.bytes = digest["bytes"].get<std::uint64_t>(),
                     .xxh3 = digest["xxh3"].get<std::string>()};
    }
  }
  check_place_();
  return started_->finish(request_, std::move(files));
}

}  // namespace switchyard::train
