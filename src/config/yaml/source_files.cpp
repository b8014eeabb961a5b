// Files of the `extends` chain.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

#include "config/yaml/source.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestChain = 16;

std::shared_ptr<const std::string> shared_name(const std::string& name) {
  return std::make_shared<const std::string>(printable_line(name));
}

// At most one byte more than a config may have: it is text by somebody's word only.
std::optional<std::string> read_bounded(const fs::path& path, std::string& reason) {
  if (const std::string_view other = other_than_file(path); !other.empty()) {
    reason = fmt::format("it is {}", other);
    return std::nullopt;
  }
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    reason = std::strerror(errno == 0 ? EIO : errno);
    return std::nullopt;
  }
  std::string text(kMaxConfigBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) {
    reason = "it cannot be read";
    return std::nullopt;
  }
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

// Follows `extends` from the outermost file to the base.
class ChainReader {
 public:
  explicit ChainReader(Problems& problems) : problems_(problems) {}

  void add_text(std::string_view yaml, const fs::path& path) {
    const auto name = shared_name(path.string());
    Node root = parse_document(yaml, name, problems_);
    std::optional<Node> base;
    if (root.kind == Node::Kind::kMap) {
      const auto extends = std::find_if(root.items.begin(), root.items.end(),
                                        [](const Node& entry) { return entry.key == "extends"; });
      if (extends != root.items.end()) {
        base = std::move(*extends);
        root.items.erase(extends);
      }
    }
    if (root.position.name == nullptr) root.position.name = name;
    documents_.push_back(std::move(root));
    if (base) follow(*base, path);
  }

  void add_file(const fs::path& path, const Position& from) {
    std::string reason;
    const auto text = read_bounded(path, reason);
    if (!text) {
      std::error_code error;
      const std::string near = fs::exists(path, error) ? std::string() : path_suggestion(path);
      problems_.add(
          from, fmt::format("cannot read '{}': {}{}", printable_line(path.string()), reason, near));
      problems_.mark_incomplete();
      return;
    }
    add_text(*text, path);
  }

  void note(const fs::path& path) {
    std::error_code error;
    const fs::path canonical = fs::weakly_canonical(path, error);
    seen_.push_back({error ? path : canonical, path.string()});
  }

  // Base first.
  [[nodiscard]] std::vector<Source> take() {
    std::vector<Source> sources;
    for (auto root = documents_.rbegin(); root != documents_.rend(); ++root) {
      sources.push_back(read_document(*root, problems_));
    }
    return sources;
  }

 private:
  struct Seen {
    fs::path canonical;
    std::string shown;
  };

  void follow(const Node& base, const fs::path& from) {
    if (base.kind != Node::Kind::kScalar || base.text.empty()) {
      problems_.add(base.position, fmt::format("extends: expected the path of a file, got {}",
                                               base.description()));
      problems_.mark_incomplete();
      return;
    }
    if (const auto tilde = problem_of_tilde(base.text)) {
      problems_.add(base.position, fmt::format("extends: {}", *tilde));
      problems_.mark_incomplete();
      return;
    }
    const fs::path path = (from.parent_path() / base.text).lexically_normal();
    note(path);
    std::string chain;
    bool cycle = false;
    for (std::size_t i = 0; i < seen_.size(); ++i) {
      cycle = cycle || (i + 1 < seen_.size() && seen_[i].canonical == seen_.back().canonical);
      chain += (i == 0 ? "" : " -> ") + printable_line(seen_[i].shown);
    }
    if (cycle) {
      problems_.add(base.position, fmt::format("extends: files extend each other: {}", chain));
      problems_.mark_incomplete();
    } else if (seen_.size() > kLongestChain) {
      problems_.add(base.position,
                    fmt::format("extends: more than {} files: {}", kLongestChain, chain));
      problems_.mark_incomplete();
    } else {
      add_file(path, base.position);
    }
  }

  Problems& problems_;
  std::vector<Node> documents_;  // outermost first
  std::vector<Seen> seen_;
};

}  // namespace

// The engine reads what the front has read, and so does whoever starts a rank again.
std::string_view other_than_file(const fs::path& path) {
  std::error_code error;
  switch (fs::status(path, error).type()) {
    case fs::file_type::directory:
      return "a folder; expected a file";
    case fs::file_type::fifo:
      return "a pipe, which can be read only once; write it to a file and name that";
    case fs::file_type::socket:
      return "a socket; expected a file";
    case fs::file_type::block:
    case fs::file_type::character:
      return "a device; expected a file";
    default:
      return {};
  }
}

std::vector<Source> read_files(const fs::path& file, Problems& problems) {
  ChainReader reader(problems);
  reader.note(file);
  reader.add_file(file, {.name = std::make_shared<const std::string>("config")});
  return reader.take();
}

std::vector<Source> read_text(std::string_view yaml, std::string_view name, Problems& problems) {
  ChainReader reader(problems);
  reader.note(fs::path(name));
  reader.add_text(yaml, fs::path(name));
  return reader.take();
}

}  // namespace switchyard::config
