// The verbs of the command line and their flags: one table that both executables parse with. The
// front answers every mistake from it in milliseconds; the engine reads the same values again.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/field_table.h"

namespace switchyard::config {

enum class ValueKind {
  kSwitch,           // a flag without a value
  kText,             // anything
  kChoice,           // one of `choices`
  kInteger,          // in `range`
  kNumber,           // in `range`
  kBytes,            // a size in bytes, "80GiB"
  kFile,             // an existing regular file, which may be read more than once
  kFileOrStdin,      // an existing file, or "-" for standard input
  kInput,            // an existing file or folder, or "-" for standard input
  kFolder,           // a folder, existing or not
  kOutput,           // a file to write, a device, or "-" for standard output
  kRun,              // a run, with or without a checkpoint in it
  kRunOrFinetune,    // a run, or the --output of a finetune
  kRunOrCheckpoint,  // a run with a checkpoint in it, RUN@best, RUN@latest, RUN@500, a checkpoint
  kStep,             // of a checkpoint, or best or latest
  kKey,              // a key of the configuration or a group of them
  kTokenizer,        // bytes, bpe:N, unigram:N or an existing FILE.model
};

struct OptionSpec {
  std::string name;  // "--max-tokens"; of a positional its name in the usage line, "RUN"
  ValueKind kind = ValueKind::kText;
  std::string metavar{};       // "N"
  std::string default_text{};  // as written on the command line; empty = none
  Range range{};
  std::vector<std::string> choices{};
  bool required = false;
  bool repeatable = false;  // several values after one flag, or the flag several times
  std::string help{};       // one line
};

class ParsedArguments;

struct VerbSpec {
  std::string name;  // "pretrain", "config show"
  std::string summary{};
  std::vector<OptionSpec> positionals{};
  std::vector<OptionSpec> flags{};
  bool takes_overrides = false;  // key.sub=value arguments
  std::string example{};
  // Adds problems across options; may be null.
  void (*check)(const ParsedArguments& arguments, std::vector<std::string>& problems) = nullptr;
};

// Pretrain, resume and finetune.
[[nodiscard]] bool trains(const VerbSpec& verb);
// The one of them whose settings are read with a checkpoint, by the engine alone.
inline constexpr std::string_view kFinetune = "finetune";
// A verb that may run as one of several ranks: those, and doctor.
[[nodiscard]] bool runs_on_ranks(const VerbSpec& verb);
// The verb whose arguments end at `--`, behind which is the command of a rank.
inline constexpr std::string_view kLaunch = "launch";

// The arguments of one verb. A flag that was not given has its default.
class ParsedArguments {
 public:
  ParsedArguments(const VerbSpec& verb,
                  const std::map<std::string, std::vector<std::string>>& values,
                  std::vector<std::string> overrides);

  [[nodiscard]] const VerbSpec& verb() const noexcept { return *verb_; }
  // Given on the command line (a default does not count).
  [[nodiscard]] bool has(std::string_view name) const;
  // Value of a flag ("--output") or positional ("RUN"); empty when it has neither value nor
  // default. A name that the verb lacks is an InternalError.
  [[nodiscard]] std::string text(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> texts(std::string_view name) const;
  // InternalError when there is neither a value nor a default: ask has() first.
  [[nodiscard]] std::int64_t integer(std::string_view name) const;
  [[nodiscard]] double number(std::string_view name) const;
  [[nodiscard]] std::uint64_t bytes(std::string_view name) const;
  // key.sub=value arguments in their order.
  [[nodiscard]] const std::vector<std::string>& overrides() const noexcept { return overrides_; }
  [[nodiscard]] bool wants_help() const { return has("--help"); }
  [[nodiscard]] bool debug() const { return has("--debug"); }

 private:
  [[nodiscard]] const OptionSpec& spec_of(std::string_view name) const;
  const VerbSpec* verb_;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> overrides_;
};

// All verbs that exist, in the order of the help.
[[nodiscard]] std::span<const VerbSpec> all_verbs();
// nullptr when there is none of this name.
[[nodiscard]] const VerbSpec* find_verb(std::string_view name);

struct Command {
  const VerbSpec* verb = nullptr;
  std::vector<std::string> arguments;  // what follows the verb
};
// Splits a command line (without the program's name) into verb and arguments; "config show" is one
// verb, a leading --debug belongs to the verb. Throws UsageError for an unknown verb.
[[nodiscard]] Command find_command(std::span<const std::string> command_line);

// Checks all arguments, files and folders included. Throws UsageError with one problem per line.
// With --help nothing else is checked.
[[nodiscard]] ParsedArguments parse_arguments(const VerbSpec& verb,
                                              std::span<const std::string> arguments);

[[nodiscard]] std::string help_of(const VerbSpec& verb);
[[nodiscard]] std::string help_of_all_verbs();

}  // namespace switchyard::config
