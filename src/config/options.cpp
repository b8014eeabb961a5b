#include "switchyard/config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "config/option_value.h"
#include "config/yaml/value.h"
#include "switchyard/core/error.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

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

const OptionSpec* find_option(const VerbSpec& verb, std::string_view name) {
  for (const OptionSpec& positional : verb.positionals) {
    if (positional.name == name) return &positional;
  }
  return find_flag(verb, name);
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
    check_outputs();
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
    if (const auto wrong = problem_of_value(option, value)) {
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
    const bool is_override = verb_.takes_overrides && argument.find('=') != std::string::npos;
    for (const OptionSpec& positional : verb_.positionals) {
      if (values_.contains(positional.name) && !positional.repeatable) continue;
      if (is_override && !positional.required) continue;
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

  // A file that is read or written by another option as well would be destroyed.
  void check_outputs() {
    struct Named {
      std::string option;
      std::string path;
    };
    std::vector<Named> others;
    std::vector<Named> outputs;
    for (const auto& [name, values] : values_) {
      const OptionSpec* const option = find_option(verb_, name);
      if (option == nullptr || !is_path(option->kind)) continue;
      auto& named = option->kind == ValueKind::kOutput ? outputs : others;
      for (const std::string& value : values) named.push_back({name, value});
    }
    for (const Named& output : outputs) {
      for (const Named& other : others) {
        if (!are_one_file(output.path, other.path)) continue;
        problem(fmt::format("{}: '{}' is the file of {}, which it would destroy", output.option,
                            printable_line(output.path), other.option));
      }
      others.push_back(output);
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
  const OptionSpec* const option = find_option(*verb_, name);
  SWITCHYARD_CHECK(option != nullptr, "verb '{}' has no option '{}'", verb_->name, name);
  return *option;
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
