#include "switchyard/config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "config/yaml/value.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

const std::vector<OptionSpec>& global_flags() {
  static const std::vector<OptionSpec> flags = {
      {.name = "--debug",
       .kind = ValueKind::kSwitch,
       .help = "say more about where an error comes from"},
      {.name = "--help", .kind = ValueKind::kSwitch, .help = "show this help"},
  };
  return flags;
}

const OptionSpec* find_flag(const VerbSpec& verb, std::string_view name) {
  for (const std::vector<OptionSpec>* flags : {&verb.flags, &global_flags()}) {
    for (const OptionSpec& flag : *flags) {
      if (flag.name == name) return &flag;
    }
  }
  return nullptr;
}

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
    return fmt::format("no such file '{}'{}", printable(value), path_suggestion(value));
  }
  return fmt::format("expected bytes, bpe:N, unigram:N or a FILE.model, got '{}'",
                     printable(value));
}

// `finished`: a checkpoint has to be there, or be it.
std::optional<std::string> problem_of_run(const std::string& value, bool finished) {
  const fs::path path(value);
  const std::string shown = printable(value);
  std::error_code error;
  if (!fs::exists(path, error)) {
    return fmt::format("no such run{} '{}'{}", finished ? " or checkpoint" : "", shown,
                       path_suggestion(path));
  }
  if (!fs::is_directory(path, error)) {
    return fmt::format("'{}' is a file; expected the folder of a run{}", shown,
                       finished ? " or checkpoint" : "");
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

std::optional<std::string> problem_of_key(const std::string& value) {
  if (find_field(value) != nullptr || is_group(value)) return std::nullopt;
  std::vector<std::string> keys;
  for (const Field& field : all_fields()) keys.push_back(field.key);
  return fmt::format("unknown key '{}'{}", printable(value), suggestion(value, keys));
}

std::optional<std::string> problem_of_path(const OptionSpec& option, const std::string& value) {
  const bool takes_folder = option.kind == ValueKind::kInput;
  if ((takes_folder || option.kind == ValueKind::kFileOrStdin) && value == "-") return std::nullopt;
  std::error_code error;
  const bool exists = fs::exists(value, error);
  const bool is_folder = fs::is_directory(value, error);
  const std::string shown = printable(value);
  if (option.kind == ValueKind::kFolder) {
    if (value.empty()) return "expected the path of a folder, got nothing";
    if (exists && !is_folder) return fmt::format("'{}' is a file; expected a folder", shown);
    return std::nullopt;
  }
  if (!exists) return fmt::format("no such file '{}'{}", shown, path_suggestion(value));
  if (!takes_folder && is_folder) {
    return fmt::format("'{}' is a folder; expected a file", shown);
  }
  return std::nullopt;
}

std::optional<std::string> problem_of_output(const std::string& value) {
  const std::string shown = printable(value);
  if (value.empty()) return "expected the path of a file, got nothing";
  if (value == "-") return std::nullopt;
  std::error_code error;
  if (fs::is_directory(value, error)) {
    return fmt::format("'{}' is a folder; expected a file", shown);
  }
  const fs::path folder = fs::path(value).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, error)) {
    return fmt::format("no folder '{}'{}", printable(folder.string()), path_suggestion(folder));
  }
  if (const std::string owner = owner_of_file(value); !owner.empty()) {
    return fmt::format("'{}' is a file of {}, which it would destroy", shown, owner);
  }
  return std::nullopt;
}

bool is_path(ValueKind kind) {
  using enum ValueKind;
  constexpr std::array kPaths = {kFile,   kFileOrStdin, kInput,           kFolder,
                                 kOutput, kRun,         kRunOrCheckpoint, kTokenizer};
  return std::find(kPaths.begin(), kPaths.end(), kind) != kPaths.end();
}

// What is wrong with one value, or nothing.
std::optional<std::string> problem_of(const OptionSpec& option, const std::string& value) {
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
      if (!number) {
        return fmt::format("expected {}, got '{}'", integer ? "an integer" : "a number",
                           printable(value));
      }
      if (option.range.contains(*number)) return std::nullopt;
      return fmt::format("must be {}, got {}", option.range.text(), value);
    }
    case ValueKind::kBytes:
      if (parse_bytes(value)) return std::nullopt;
      return fmt::format("expected a size such as 80GiB, 500MB or a number of bytes, got '{}'",
                         printable(value));
    case ValueKind::kTokenizer:
      return problem_of_tokenizer(value);
    case ValueKind::kRun:
      return problem_of_run(value, false);
    case ValueKind::kRunOrCheckpoint:
      return problem_of_run(value, true);
    case ValueKind::kKey:
      return problem_of_key(value);
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

bool looks_like_flag(const std::string& argument) {
  // A lone "-" is standard input; "-0.5" is a number.
  return argument.size() > 1 && argument[0] == '-' && !parse_number(argument);
}

class ArgumentParser {
 public:
  ArgumentParser(const VerbSpec& verb, std::span<const std::string> arguments)
      : verb_(verb), arguments_(arguments) {}

  ParsedArguments run() {
    bool flags_over = false;
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (argument == "--" && !flags_over) {
        flags_over = true;
      } else if (!flags_over && looks_like_flag(argument)) {
        read_flag(argument);
      } else {
        read_positional(argument);
      }
    }
    ParsedArguments parsed(verb_, values_, overrides_);
    if (parsed.wants_help()) return parsed;
    check_missing();
    if (problems_.empty() && verb_.check != nullptr) verb_.check(parsed, problems_);
    if (!problems_.empty()) raise();
    return parsed;
  }

 private:
  [[noreturn]] void raise() const {
    throw UsageError(join(problems_, "\n"),
                     fmt::format("`switchyard {} --help` shows how to call it", verb_.name));
  }

  void problem(std::string text) { problems_.push_back(std::move(text)); }

  void store(const OptionSpec& option, const std::string& value) {
    if (const auto wrong = problem_of(option, value)) {
      problem(fmt::format("{}: {}", option.name, *wrong));
    }
    values_[option.name].push_back(value);
  }

  void read_flag(const std::string& argument) {
    const std::size_t equals = argument.find('=');
    const std::string name = argument == "-h" ? "--help" : argument.substr(0, equals);
    const OptionSpec* flag = find_flag(verb_, name);
    if (flag == nullptr) {
      unknown_flag(name);
      return;
    }
    if (!flag->repeatable && values_.contains(name) && flag->kind != ValueKind::kSwitch) {
      problem(fmt::format("{}: given more than once", name));
    }
    if (flag->kind == ValueKind::kSwitch) {
      if (equals != std::string::npos) problem(fmt::format("{}: takes no value", name));
      values_[name] = {"true"};
      return;
    }
    if (equals != std::string::npos) {
      store(*flag, argument.substr(equals + 1));
      return;
    }
    std::size_t taken = 0;
    while (next_ < arguments_.size() && is_value_of(*flag, arguments_[next_])) {
      if (taken > 0 && !flag->repeatable) break;
      store(*flag, arguments_[next_++]);
      ++taken;
    }
    if (taken == 0) {
      problem(fmt::format("{}: needs a value ({})", name, flag->metavar));
      values_[name];  // not "required" on top of that
    }
  }

  // Text may begin with a dash, as long as it is not one of our flags.
  [[nodiscard]] bool is_value_of(const OptionSpec& flag, const std::string& argument) const {
    // After a key may come an override of it.
    if (flag.kind == ValueKind::kKey && argument.find('=') != std::string::npos) return false;
    if (!looks_like_flag(argument)) return true;
    const std::string name = argument.substr(0, argument.find('='));
    return flag.kind == ValueKind::kText && argument != "-h" && find_flag(verb_, name) == nullptr;
  }

  void unknown_flag(const std::string& name) {
    const std::string key = name.substr(std::min(name.find_first_not_of('-'), name.size()));
    if (find_field(key) != nullptr) {
      const std::string how = verb_.takes_overrides
                                  ? fmt::format("configuration is written {}=VALUE", key)
                                  : "configuration belongs to pretrain";
      problem(fmt::format("unknown flag '{}' ({})", printable(name), how));
      // Do not mistake its value for a file.
      if (next_ < arguments_.size() && !looks_like_flag(arguments_[next_])) ++next_;
      return;
    }
    std::vector<std::string> names;
    for (const OptionSpec& flag : verb_.flags) names.push_back(flag.name);
    for (const OptionSpec& flag : global_flags()) names.push_back(flag.name);
    problem(fmt::format("unknown flag '{}'{}", printable(name), suggestion(name, names)));
    // Read on as if the flag that was meant stood there, so that one mistake is one problem.
    const OptionSpec* meant = find_flag(verb_, nearest_name(name, names));
    if (meant == nullptr || meant->kind == ValueKind::kSwitch) return;
    values_[meant->name];
    if (next_ < arguments_.size() && is_value_of(*meant, arguments_[next_])) ++next_;
  }

  void read_positional(const std::string& argument) {
    for (const OptionSpec& positional : verb_.positionals) {
      if (values_.contains(positional.name) && !positional.repeatable) continue;
      store(positional, argument);
      return;
    }
    if (verb_.takes_overrides) {
      if (argument.find('=') == std::string::npos) {
        problem(fmt::format("unexpected '{}'; expected key.sub=value", printable(argument)));
      } else {
        overrides_.push_back(argument);
      }
    } else {
      problem(fmt::format("unexpected '{}'", printable(argument)));
    }
  }

  void check_missing() {
    for (const OptionSpec& positional : verb_.positionals) {
      if (positional.required && !values_.contains(positional.name)) {
        problem(fmt::format("{}: missing ({})", positional.name, positional.help));
      }
    }
    for (const OptionSpec& flag : verb_.flags) {
      if (flag.required && !values_.contains(flag.name)) {
        problem(fmt::format("{} {}: missing ({})", flag.name, flag.metavar, flag.help));
      }
    }
  }

  const VerbSpec& verb_;
  std::span<const std::string> arguments_;
  std::size_t next_ = 0;
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> overrides_;
  std::vector<std::string> problems_;
};

}  // namespace

ParsedArguments::ParsedArguments(const VerbSpec& verb,
                                 const std::map<std::string, std::vector<std::string>>& values,
                                 std::vector<std::string> overrides)
    : verb_(&verb), values_(values.begin(), values.end()), overrides_(std::move(overrides)) {}

const OptionSpec& ParsedArguments::spec_of(std::string_view name) const {
  for (const OptionSpec& positional : verb_->positionals) {
    if (positional.name == name) return positional;
  }
  const OptionSpec* flag = find_flag(*verb_, name);
  SWITCHYARD_CHECK(flag != nullptr, "verb '{}' has no option '{}'", verb_->name, name);
  return *flag;
}

bool ParsedArguments::has(std::string_view name) const {
  (void)spec_of(name);
  return values_.contains(name);
}

std::string ParsedArguments::text(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end() || found->second.empty()) return spec_of(name).default_text;
  return found->second.back();
}

std::vector<std::string> ParsedArguments::texts(std::string_view name) const {
  const auto found = values_.find(name);
  if (found != values_.end()) return found->second;
  const std::string& default_text = spec_of(name).default_text;
  return default_text.empty() ? std::vector<std::string>{} : std::vector{default_text};
}

std::int64_t ParsedArguments::integer(std::string_view name) const {
  const auto value = parse_integer(text(name));
  SWITCHYARD_CHECK(value.has_value(), "option '{}' has no integer value", name);
  return *value;
}

double ParsedArguments::number(std::string_view name) const {
  const auto value = parse_number(text(name));
  SWITCHYARD_CHECK(value.has_value(), "option '{}' has no number", name);
  return *value;
}

std::uint64_t ParsedArguments::bytes(std::string_view name) const {
  const auto value = parse_bytes(text(name));
  SWITCHYARD_CHECK(value.has_value(), "option '{}' has no size", name);
  return *value;
}

ParsedArguments parse_arguments(const VerbSpec& verb, std::span<const std::string> arguments) {
  return ArgumentParser(verb, arguments).run();
}

}  // namespace switchyard::config
