// YAML text as a tree with source positions. Stricter than YAML: no anchors, aliases, tags,
// duplicate keys, tabs in the indentation or nesting beyond what a config needs.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::config {

// Ten times the largest config anybody writes; yaml-cpp needs about a second per megabyte.
inline constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 18;

struct Position {
  std::shared_ptr<const std::string> name;  // a file, "preset NAME" or "command line"
  int line = 0;                             // from 1; 0 when there are no lines
  int column = 0;

  [[nodiscard]] std::string text() const;    // "x.yaml:3:5"
  [[nodiscard]] std::string origin() const;  // "x.yaml:3"
};

struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  Position position;
  std::string text{};  // of a scalar
  bool quoted = false;
  std::vector<Node> items{};  // of a list, or the values of a map in their order
  std::string key{};          // of a value in a map
  Position key_position{};

  // "'0.4'", "the text \"0.4\"", "a list", "a map", "nothing": for messages.
  [[nodiscard]] std::string description() const;
  // No value: empty, `null`, or the word `none`.
  [[nodiscard]] bool is_none() const;
};

// The problems found so far, each a full line of text. Past the first 50 they are only counted.
class Problems {
 public:
  void add(const Position& position, std::string_view message);
  // No more text is kept: callers need not work on suggestions.
  [[nodiscard]] bool full() const { return lines_.size() >= kMostLines; }
  [[nodiscard]] std::size_t num_left_out() const { return num_left_out_; }
  // Something could not be read at all: rules about what is missing would only mislead.
  void mark_incomplete() { incomplete_ = true; }
  [[nodiscard]] bool incomplete() const { return incomplete_; }
  [[nodiscard]] bool empty() const { return lines_.empty(); }
  [[nodiscard]] const std::vector<std::string>& lines() const { return lines_; }

 private:
  static constexpr std::size_t kMostLines = 50;
  std::vector<std::string> lines_;
  std::size_t num_left_out_ = 0;
  bool incomplete_ = false;
};

// Parses one document. Problems are added; when it cannot be read, they are marked incomplete and a
// null node is returned.
[[nodiscard]] Node parse_document(std::string_view yaml,
                                  const std::shared_ptr<const std::string>& name,
                                  Problems& problems);
// Parses the value of an override of `key`; every position in it is `position`. nullopt, with a
// problem, when it cannot be read.
[[nodiscard]] std::optional<Node> parse_value(std::string_view yaml, const Position& position,
                                              std::string_view key, Problems& problems);

}  // namespace switchyard::config
