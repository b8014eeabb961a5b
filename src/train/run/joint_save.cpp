#include "train/run/joint_save.h"

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "switchyard/comm/text.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/format/json.h"
#include "switchyard/ops/out_of_memory.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder = "folder of a checkpoint";
constexpr const char* kFiles = "files of a checkpoint";

// None where memory does not suffice.
std::optional<checkpoint::WritePlan> copy_of(const checkpoint::SaveRequest& request) {
  try {
    return checkpoint::copied_to_host(request.plan);
  } catch (const std::exception& error) {
    if (!ops::is_out_of_memory(error)) throw;
    log::warning(
        "step {}: no memory for a copy of {} to save beside training; training waits for this "
        "checkpoint ({})",
        request.step, format_bytes(checkpoint::bytes_of(request.plan)), ops::short_message(error));
    return std::nullopt;
  }
}

}  // namespace

JointSave::JointSave(comm::Communicator& world, const fs::path& checkpoints,
                     checkpoint::SaveRequest request)
    : world_(world), request_(std::move(request)) {
  if (world_.rank() == 0) {
    try {
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
         checkpoint::write_files_of(static_cast<int>(world_.rank()), plan, folder_)) {
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
  if (!folder_.empty()) written_ = write_files(request_.plan);
}

void JointSave::write_beside() {
  if (folder_.empty()) return;
  std::optional<checkpoint::WritePlan> copy = copy_of(request_);
  if (!copy) return write();
  try {
    under_way_ = std::async(std::launch::async,
                            [this, plan = std::move(*copy)] { return write_files(plan); });
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
  return started_->finish(request_, std::move(files));
}

}  // namespace switchyard::train
