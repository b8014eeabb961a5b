#include "switchyard/config/checkpoint_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>
#include <vector>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// The whole checkpoints of a run, by step.
std::vector<std::pair<std::int64_t, fs::path>> checkpoints_of(const fs::path& run) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator entry(run / kCheckpointsFolderName, error), end;
       !error && entry != end; entry.increment(error)) {
    const auto step = step_in_name(entry->path().filename().string());
    if (step && is_checkpoint(entry->path())) found.emplace_back(*step, entry->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

fs::path best_of(const fs::path& run) {
  std::string name;
  try {
    name = read_file(run / kCheckpointsFolderName / kBestPointer);
  } catch (const StorageError&) {
    return {};
  }
  name.resize(std::min(name.find_first_of("\r\n"), name.size()));
  const fs::path folder = run / kCheckpointsFolderName / name;
  return step_in_name(name) && is_checkpoint(folder) ? folder : fs::path();
}

}  // namespace

std::string step_name(std::int64_t step) {
  return fmt::format("{}{:06}", kStepPrefix, step);
}

bool is_step_name(std::string_view folder_name) {
  return step_in_name(folder_name) && !folder_name.ends_with(kUnsoundSuffix);
}

NamedRun parse_named_run(const std::string& text) {
  const std::size_t at = text.rfind('@');
  std::error_code error;
  if (at == std::string::npos || !is_checkpoint_name(text.substr(at + 1)) ||
      fs::exists(text, error)) {
    return {.run = text};
  }
  return {.run = text.substr(0, at), .checkpoint = text.substr(at + 1)};
}

bool is_checkpoint_name(std::string_view name) {
  return name == "best" || name == "latest" || all_digits(name);
}

fs::path named_checkpoint(const fs::path& run, std::string_view name) {
  if (name == "best") return best_of(run);
  fs::path found;
  for (const auto& [step, folder] : checkpoints_of(run)) {
    const bool sound = !folder.filename().string().ends_with(kUnsoundSuffix);
    if (name == "latest") {
      if (sound) found = folder;
    } else if (all_digits(name) && step_in_name(fmt::format("{}{}", kStepPrefix, name)) == step) {
      if (sound || found.empty()) found = folder;
    }
  }
  return found;
}

std::optional<std::int64_t> step_in_name(std::string_view folder_name) {
  if (folder_name.ends_with(kUnsoundSuffix)) folder_name.remove_suffix(kUnsoundSuffix.size());
  if (!folder_name.starts_with(kStepPrefix)) return std::nullopt;
  const std::string_view digits = folder_name.substr(kStepPrefix.size());
  if (!all_digits(digits)) return std::nullopt;
  std::int64_t step = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  return parsed.ec == std::errc() ? std::optional(step) : std::nullopt;
}

std::string no_such_checkpoint(const fs::path& run, std::string_view name) {
  std::vector<std::string> there;
  for (const auto& [step, folder] : checkpoints_of(run)) {
    there.push_back(folder.filename().string());
  }
  const std::string which = name == "best"     ? "no best one (train.keep_best=true keeps it)"
                            : name == "latest" ? "no sound one"
                                               : fmt::format("none of step {}", printable(name));
  return fmt::format(
      "'{}' has {}; there {}", printable_line(run.string()), which,
      there.empty() ? "is none" : (there.size() == 1 ? "is " : "are ") + join(there, ", "));
}

}  // namespace switchyard::config
