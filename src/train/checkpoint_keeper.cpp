#include "train/checkpoint_keeper.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"

namespace switchyard::train {
namespace fs = std::filesystem;

CheckpointKeeper::CheckpointKeeper(fs::path folder, std::int64_t keep_last)
    : folder_(std::move(folder)), keep_last_(keep_last) {}

void CheckpointKeeper::save(const checkpoint::SaveRequest& request) {
  constexpr int kMostFailures = 3;
  try {
    last_ = checkpoint::save(folder_, request);
  } catch (const StorageError& error) {
    failure_ = std::current_exception();
    if (++num_failures_in_a_row_ >= kMostFailures) throw;
    log::warning("step {}: checkpoint not saved ({} in a row): {}", request.step,
                 num_failures_in_a_row_, error.what());
    return;
  }
  last_step_ = request.step;
  failure_ = nullptr;
  num_failures_in_a_row_ = 0;
  remove_old();
}

void CheckpointKeeper::check_last_save() const {
  if (failure_) std::rethrow_exception(failure_);
}

void CheckpointKeeper::remove_old() const {
  // Six digits and more sort by length, then by text.
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && config::is_checkpoint(entry.path())) names.push_back(name);
  }
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  const auto num_kept = static_cast<std::size_t>(std::max<std::int64_t>(1, keep_last_));
  for (std::size_t i = 0; i + num_kept < names.size(); ++i) {
    fs::remove_all(folder_ / names[i], error);
    if (error) log::warning("cannot remove {}: {}", (folder_ / names[i]).string(), error.message());
  }
}

}  // namespace switchyard::train
