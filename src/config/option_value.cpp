#include "config/option_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "config/yaml/source.h"
#include "config/yaml/value.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/output.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> problem_of_tokenizer(const std::string& value) {
  constexpr std::int64_t kSmallest = 300;  // 256 bytes, the special pieces and some text
  constexpr std::int64_t kLargest = 1'000'000;
  if (value == "bytes") return std::nullopt;
  const std::size_t colon = value.find(':');
  const std::string kind = value.substr(0, colon);
  if (colon != std::string::npos && (kind == "bpe" || kind == "unigram")) {
    const auto pieces = parse_integer(std::string_view(value).substr(colon + 1));
    if (pieces && *pieces >= kSmallest && *pieces <= kLargest) return std::nullopt;
    return fmt::format("the number of pieces in '{}' must be an integer in [{}, {}]",
                       printable(value), kSmallest, kLargest);
  }
  std::error_code error;
  if (fs::is_regular_file(value, error)) return std::nullopt;
  if (value.ends_with(".model")) {
    return fmt::format("no such file '{}'{}", printable_line(value), path_suggestion(value));
  }
  return fmt::format("expected bytes, bpe:N, unigram:N or a FILE.model, got '{}'",
                     printable(value));
}

// `finished`: a checkpoint has to be there, or be it.
std::optional<std::string> problem_of_run(const std::string& value, bool finished) {
  const NamedRun named = parse_named_run(value);
  const fs::path& path = named.run;
  const std::string shown = printable_line(value);
  std::error_code error;
  if (!fs::exists(path, error)) {
    // "runs/a@bets"
    const fs::path before_at = value.substr(0, std::min(value.rfind('@'), value.size()));
    if (before_at != path && holds_run(before_at)) {
      return fmt::format("'{}': behind the @ of a run comes best, latest or a step", shown);
    }
    return fmt::format("no such run{} '{}'{}", finished ? " or checkpoint" : "", shown,
                       path_suggestion(path));
  }
  if (!fs::is_directory(path, error)) {
    return fmt::format("'{}' is a file; expected the folder of a run{}", shown,
                       finished ? " or checkpoint" : "");
  }
  if (!named.checkpoint.empty() && holds_run(path)) {
    if (!finished) {
      return fmt::format("'{}' names a checkpoint; expected its run: {}", shown,
                         shell_path(path.string()));
    }
    if (!named_checkpoint(path, named.checkpoint).empty()) return std::nullopt;
    return no_such_checkpoint(path, named.checkpoint);
  }
  if (!finished) {
    if (holds_run(path)) return std::nullopt;
    if (is_checkpoint(path)) {
      return fmt::format("'{}' is a checkpoint; expected the folder of its run", shown);
    }
    return fmt::format("'{}' holds no run (no {})", shown, kResolvedConfigName);
  }
  if (is_checkpoint(path) || holds_run_with_checkpoint(path)) return std::nullopt;
  if (holds_run(path)) return fmt::format("'{}' is a run without a finished checkpoint", shown);
  if (holds_run(path / "..")) {
    return fmt::format("'{}' is inside a run; give the run's folder or a step-... folder", shown);
  }
  return fmt::format("'{}' is neither a run (no {}) nor a checkpoint (no {})", shown,
                     kResolvedConfigName, kCheckpointManifestName);
}

std::optional<std::string> problem_of_step(const std::string& value) {
  const auto step = parse_integer(value);
  if (value == "best" || value == "latest" || (step && *step >= 1)) return std::nullopt;
  return fmt::format("expected the step of a checkpoint, best or latest, got '{}'",
                     printable(value));
}

std::optional<std::string> problem_of_keys(const std::string& value) {
  for (const std::string_view part : split(value, ",")) {
    const std::string key(part);
    if (find_field(key) != nullptr || is_group(key)) continue;
    std::vector<std::string> keys;
    for (const Field& field : all_fields()) keys.push_back(field.key);
    return fmt::format("unknown key '{}'{}", printable(key), suggestion(key, keys));
  }
  return std::nullopt;
}

std::optional<std::string> problem_of_path(const OptionSpec& option, const std::string& value) {
  const bool takes_folder = option.kind == ValueKind::kInput;
  if ((takes_folder || option.kind == ValueKind::kFileOrStdin) && value == "-") return std::nullopt;
  std::error_code error;
  const bool exists = fs::exists(value, error);
  const bool is_folder = fs::is_directory(value, error);
  const std::string shown = printable_line(value);
  if (option.kind == ValueKind::kFolder) {
    if (value.empty()) return "expected the path of a folder, got nothing";
    if (exists && !is_folder) return fmt::format("'{}' is a file; expected a folder", shown);
    return std::nullopt;
  }
  if (!exists) return fmt::format("no such file '{}'{}", shown, path_suggestion(value));
  if (option.kind == ValueKind::kFile) {
    const std::string_view other = other_than_file(value);
    if (!other.empty()) return fmt::format("'{}' is {}", shown, other);
  }
  if (!takes_folder && is_folder) {
    return fmt::format("'{}' is a folder; expected a file", shown);
  }
  return std::nullopt;
}

// " (5 % is 0.05)" for "5%" and 5 where a share is expected.
std::string as_share(const Range& range, const std::string& value) {
  std::string digits = value;
  while (digits.ends_with('%') || digits.ends_with(' ')) digits.pop_back();
  const auto number = parse_number(digits);
  const bool is_share = range.minimum == 0.0 && range.maximum == 1.0;
  if (!is_share || !number || *number < 1.0 || !range.contains(*number / 100.0)) return {};
  return fmt::format(" ({:g} % is {:g})", *number, *number / 100.0);
}

std::optional<std::string> problem_of_output(const std::string& value) {
  const std::string shown = printable_line(value);
  if (value.empty()) return "expected the path of a file, got nothing";
  if (value == "-") return std::nullopt;
  std::error_code error;
  if (fs::is_directory(value, error)) {
    return fmt::format("'{}' is a folder; expected a file", shown);
  }
  if (!fs::exists(value, error)) {
    fs::path file;
    try {
      file = follow_links(value);
    } catch (const StorageError& circle) {
      return circle.what();
    }
    const fs::path folder = file.parent_path();
    if (!folder.empty() && !fs::is_directory(folder, error)) {
      return fmt::format("no folder '{}'{}", printable_line(folder.string()),
                         path_suggestion(folder));
    }
  }
  if (const std::string owner = owner_of_file(value); !owner.empty()) {
    return fmt::format("'{}' is a file of {}, which it would destroy", shown, owner);
  }
  return std::nullopt;
}

}  // namespace

bool is_path(ValueKind kind) {
  using enum ValueKind;
  constexpr std::array kPaths = {kFile, kFileOrStdin,   kInput,           kFolder,   kOutput,
                                 kRun,  kRunOrFinetune, kRunOrCheckpoint, kTokenizer};
  return std::find(kPaths.begin(), kPaths.end(), kind) != kPaths.end();
}

bool are_one_file(const std::string& a, const std::string& b) {
  if (a == "-" || b == "-") return false;  // a standard stream
  std::error_code error;
  if (fs::exists(a, error) || fs::exists(b, error)) {
    return fs::is_regular_file(a, error) && fs::equivalent(a, b, error) && !error;
  }
  const auto place = [&error](const std::string& path) {
    return fs::weakly_canonical(fs::absolute(path, error), error);
  };
  return place(a) == place(b) && !error;
}

std::optional<std::string> problem_of_value(const OptionSpec& option, const std::string& value) {
  if (is_path(option.kind)) {
    if (auto tilde = problem_of_tilde(value)) return tilde;
  }
  switch (option.kind) {
    case ValueKind::kSwitch:
    case ValueKind::kText:
      return std::nullopt;
    case ValueKind::kChoice:
      if (std::find(option.choices.begin(), option.choices.end(), value) != option.choices.end()) {
        return std::nullopt;
      }
      return fmt::format("must be one of {}, got '{}'{}", join(option.choices, ", "),
                         printable(value), suggestion(value, option.choices));
    case ValueKind::kInteger:
    case ValueKind::kNumber: {
      const bool integer = option.kind == ValueKind::kInteger;
      std::optional<double> number;
      if (!integer) {
        number = parse_number(value);
      } else if (const auto whole = parse_integer(value)) {
        number = static_cast<double>(*whole);
      }
      const std::string percent = integer ? std::string() : as_share(option.range, value);
      if (!number && percent.empty()) {
        return fmt::format("expected {}, got '{}'{}", integer ? "an integer" : "a number",
                           printable(value),
                           integer ? why_no_integer(value) : why_no_number(value));
      }
      if (number && option.range.contains(*number)) return std::nullopt;
      return fmt::format("must be {}, got {}{}", option.range.text(), value, percent);
    }
    case ValueKind::kBytes:
      if (parse_bytes(value)) return std::nullopt;
      return fmt::format("expected a size such as 80GiB, 500MB or a number of bytes, got '{}'",
                         printable(value));
    case ValueKind::kTokenizer:
      return problem_of_tokenizer(value);
    case ValueKind::kRun:
      return problem_of_run(value, false);
    case ValueKind::kRunOrFinetune:
      return holds_finetune(value) ? std::nullopt : problem_of_run(value, false);
    case ValueKind::kRunOrCheckpoint:
      return problem_of_run(value, true);
    case ValueKind::kStep:
      return problem_of_step(value);
    case ValueKind::kKey:
      return problem_of_keys(value);
    case ValueKind::kOutput:
      return problem_of_output(value);
    case ValueKind::kFile:
    case ValueKind::kFileOrStdin:
    case ValueKind::kInput:
    case ValueKind::kFolder:
      return problem_of_path(option, value);
  }
  return std::nullopt;
}

}  // namespace switchyard::config
