// A line-based check: enough for `#include`, `#if` and kernel launches once comments are blanked.
#include "architecture/ladder_check.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace switchyard::architecture {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string read_text(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + file.string());
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Comments become spaces; line structure stays. String literals are kept (includes are strings).
std::string without_comments(const std::string& text) {
  std::string result = text;
  enum class State { kCode, kLine, kBlock, kString, kChar } state = State::kCode;
  for (size_t i = 0; i < result.size(); ++i) {
    const char c = text[i];
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    switch (state) {
      case State::kCode:
        if (c == '/' && next == '/') state = State::kLine;
        if (c == '/' && next == '*') state = State::kBlock;
        if (c == '"') state = State::kString;
        if (c == '\'' && (i == 0 || std::isalnum(static_cast<unsigned char>(text[i - 1])) == 0)) {
          state = State::kChar;
        }
        if (state == State::kLine || state == State::kBlock) result[i] = ' ';
        break;
      case State::kLine:
        if (c == '\n') {
          state = State::kCode;
        } else {
          result[i] = ' ';
        }
        break;
      case State::kBlock:
        if (c != '\n') result[i] = ' ';
        if (c == '/' && text[i - 1] == '*') state = State::kCode;
        break;
      case State::kString:
      case State::kChar:
        if (c == '\\') {
          ++i;
        } else if (c == (state == State::kString ? '"' : '\'') || c == '\n') {
          state = State::kCode;
        }
        break;
    }
  }
  return result;
}

// "#  include <x>" -> {"include", "<x>"}; two empty strings for any other line.
struct Directive {
  std::string name;
  std::string rest;
};

Directive parse_directive(const std::string& line) {
  const std::string text = trimmed(line);
  if (!text.starts_with('#')) return {};
  const std::string body = trimmed(text.substr(1));
  const auto end = body.find_first_not_of("abcdefghijklmnopqrstuvwxyz");
  if (end == std::string::npos) return {body, ""};
  return {body.substr(0, end), trimmed(body.substr(end))};
}

bool is_condition(const std::string& directive) {
  return directive == "if" || directive == "ifdef" || directive == "ifndef" || directive == "elif";
}

bool starts_kernel(const std::string& line) {
  return line.find("<<<") != std::string::npos || line.find("cudaLaunch") != std::string::npos;
}

bool takes_address(const std::string& line) {
  return line.find("data_ptr") != std::string::npos;
}

bool starts_with_any(const std::string& text, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return text.starts_with(prefix); });
}

template <class Range>
bool contains(const Range& range, const std::string& value) {
  return std::find(range.begin(), range.end(), value) != range.end();
}

// The layer of a path such as "cli/front/main.cpp": its longest leading folder in the table.
std::optional<std::string> layer_of(std::string path, const Ladder& ladder) {
  for (auto slash = path.rfind('/'); slash != std::string::npos; slash = path.rfind('/')) {
    path.resize(slash);
    if (ladder.layers.contains(path)) return path;
  }
  return std::nullopt;
}

struct SourceFile {
  std::string path;    // relative to the root, with '/'
  std::string inside;  // relative to the folder that holds the layers
  bool is_test = false;
  bool is_public_header = false;
};

std::vector<SourceFile> find_sources(const fs::path& root) {
  static const std::set<std::string> kExtensions{".h", ".hpp", ".cuh", ".cpp", ".cc", ".cu"};
  std::vector<SourceFile> result;
  for (const std::string folder : {"include/switchyard/", "src/", "kernels/", "tests/"}) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !kExtensions.contains(entry.path().extension().string())) {
        continue;
      }
      SourceFile file;
      file.path = fs::relative(entry.path(), root).generic_string();
      file.inside = folder == "kernels/" ? file.path : file.path.substr(folder.size());
      file.is_test = folder == "tests/";
      file.is_public_header = folder == "include/switchyard/";
      result.push_back(file);
    }
  }
  std::sort(result.begin(), result.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return result;
}

// tests/support and tests/architecture belong to no layer.
bool is_shared_test_code(const std::string& path) {
  return path.starts_with("support/") || path.starts_with("architecture/");
}

class FileCheck {
 public:
  FileCheck(const fs::path& root, const Ladder& ladder, SourceFile file,
            std::vector<Violation>& violations)
      : root_(root), ladder_(ladder), file_(std::move(file)), violations_(violations) {}

  void run() {
    layer_ = layer_of(file_.inside, ladder_);
    if (!layer_ && !(file_.is_test && is_shared_test_code(file_.inside))) {
      report(1, "is in no layer of tests/architecture/ladder.txt");
    }

    // The simulated GPU's stand-in for the CUDA headers defines what the helper calls.
    const bool is_kernel_code = !file_.is_test || fs::path(file_.path).extension() == ".cu";
    std::istringstream lines(without_comments(read_text(root_ / file_.path)));
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
      ++number;
      const Directive directive = parse_directive(line);
      if (directive.name == "include" && directive.rest.size() > 1) {
        const bool quoted = directive.rest[0] == '"';
        const auto end = directive.rest.find(quoted ? '"' : '>', 1);
        check_include(number, directive.rest.substr(1, end - 1), quoted);
      }
      if (file_.is_public_header && is_condition(directive.name) &&
          directive.rest.find("SWITCHYARD_") != std::string::npos) {
        report(number, "a public header must not depend on a build flag; compile a stub instead");
      }
      if (is_kernel_code && starts_kernel(line) && file_.path != ladder_.launch_helper) {
        report(number, "bare kernel launch; use the launch helper in " + ladder_.launch_helper);
      }
      if (!may_test() && takes_address(line)) check_address(number);
    }
  }

 private:
  void report(int line, const std::string& rule) {
    violations_.push_back({file_.path, line, rule});
  }

  void check_include(int line, const std::string& header, bool quoted) {
    if (const auto found = ladder_.forbidden.find(header); found != ladder_.forbidden.end()) {
      report(line, "never include " + header + ": " + found->second);
      return;
    }
    if (file_.is_test && is_shared_test_code(header)) return;
    if (const auto target = included_path(header, quoted)) {
      check_layer(line, *target);
    } else {
      check_library(line, header);
    }
  }

  // For a header of ours, its path below the folder that holds the layers.
  std::optional<std::string> included_path(const std::string& header, bool quoted) const {
    if (header.starts_with("switchyard/")) return header.substr(std::string("switchyard/").size());
    if (!quoted) return std::nullopt;
    const fs::path beside = fs::path(file_.path).parent_path() / header;
    if (fs::exists(root_ / beside)) {
      return (fs::path(file_.inside).parent_path() / header).lexically_normal().generic_string();
    }
    if (fs::exists(root_ / "src" / header)) return header;
    if (file_.is_test && fs::exists(root_ / "tests" / header)) return header;
    if (fs::exists(root_ / "kernels" / header)) return "kernels/" + header;
    return std::nullopt;
  }

  void check_layer(int line, const std::string& target) {
    if (!layer_) return;
    const auto included = layer_of(target, ladder_);
    if (!included) {
      report(line, "includes " + target + ", which is in no layer of the ladder");
    } else if (*included != *layer_ && !contains(ladder_.layers.at(*layer_).layers, *included)) {
      report(line, "layer '" + *layer_ + "' may not include layer '" + *included + "' (" + target +
                       "); it may include: " + allowed_layers());
    }
  }

  void check_library(int line, const std::string& header) {
    for (const auto& [name, prefixes] : ladder_.libraries) {
      if (!starts_with_any(header, prefixes)) continue;
      if (name == "system" || (name == "testing" && may_test()) || !layer_) return;
      if (!contains(ladder_.layers.at(*layer_).libraries, name)) {
        report(line, "layer '" + *layer_ + "' may not include " + name + " (" + header + ")");
      }
      return;
    }
    if (header.find('/') != std::string::npos) {
      report(line, "includes " + header + " of a library that ladder.txt does not know");
    }
  }

  void check_address(int line) {
    if (!layer_) return;
    const auto rule = ladder_.addresses.find(*layer_);
    if (rule == ladder_.addresses.end() || rule->second == file_.path) return;
    report(line, "takes the address of a tensor's elements; use " + rule->second);
  }

  bool may_test() const {
    return file_.is_test || file_.path.find("_benchmark.") != std::string::npos;
  }

  std::string allowed_layers() const {
    std::string result;
    for (const auto& name : ladder_.layers.at(*layer_).layers) result += name + ' ';
    return result.empty() ? "nothing below" : result.substr(0, result.size() - 1);
  }

  const fs::path& root_;
  const Ladder& ladder_;
  SourceFile file_;
  std::vector<Violation>& violations_;
  std::optional<std::string> layer_;
};

}  // namespace

std::string to_string(const std::vector<Violation>& violations) {
  std::string result;
  for (const auto& violation : violations) {
    result += violation.file + ':' + std::to_string(violation.line) + ": " + violation.rule + '\n';
  }
  return result;
}

Ladder read_ladder(const fs::path& file) {
  Ladder ladder;
  std::istringstream lines(read_text(file));
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    line = trimmed(line);
    if (line.empty() || line.starts_with('#')) continue;
    const auto fail = [&](const std::string& what) -> std::runtime_error {
      return std::runtime_error(file.string() + ':' + std::to_string(number) + ": " + what);
    };
    const auto space = line.find(' ');
    const std::string kind = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : trimmed(line.substr(space));
    if (kind == "launch_helper") {
      ladder.launch_helper = rest;
      continue;
    }
    const auto colon = rest.find(':');
    if (colon == std::string::npos) throw fail("expected '" + kind + " <name>: ...'");
    const std::string name = rest.substr(0, colon);
    const std::string value = trimmed(rest.substr(colon + 1));
    if (kind == "layer") {
      const auto bar = value.find('|');
      if (bar == std::string::npos) throw fail("expected 'layers | libraries'");
      LayerRule rule{words(value.substr(0, bar)), words(value.substr(bar + 1))};
      for (const auto& below : rule.layers) {
        // Lower rungs come first: the table itself cannot describe an upward include.
        if (!ladder.layers.contains(below))
          throw fail("layer '" + below + "' is not above this line");
      }
      if (!ladder.layers.emplace(name, rule).second) throw fail("layer '" + name + "' twice");
    } else if (kind == "library") {
      ladder.libraries[name] = words(value);
    } else if (kind == "addresses") {
      ladder.addresses[name] = value;
    } else if (kind == "forbid") {
      ladder.forbidden[name] = value;
    } else {
      throw fail("unknown kind '" + kind +
                 "' (known: layer, library, forbid, addresses, launch_helper)");
    }
  }
  return ladder;
}

std::vector<Violation> check_tree(const fs::path& root, const Ladder& ladder) {
  std::vector<Violation> violations;
  for (const auto& file : find_sources(root)) FileCheck(root, ladder, file, violations).run();
  return violations;
}

int count_sources(const fs::path& root) {
  return static_cast<int>(find_sources(root).size());
}

}  // namespace switchyard::architecture
