#include "config/yaml/document.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "config/yaml/plain_text.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"

namespace switchyard::config {
namespace {

constexpr std::size_t kMaxDepth = 20;  // the deepest field is at 6

// Ends the parse from inside yaml-cpp; the problem has been added.
struct StopParsing {};

// Builds the tree from yaml-cpp's events, which unlike its nodes still show duplicates and quotes.
class TreeBuilder : public YAML::EventHandler {
 public:
  // `fixed` replaces the positions of the text when it is not null.
  TreeBuilder(std::shared_ptr<const std::string> name, const Position* fixed, Problems& problems)
      : name_(std::move(name)), fixed_(fixed), problems_(problems) {}

  // After a parse without errors.
  [[nodiscard]] Node take() {
    if (!bad_key_message_.empty()) problems_.add(bad_key_position_, bad_key_message_);
    return std::move(root_);
  }

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (awaits_key()) {
      note_bad_key(mark, "a key is missing before ':'");
      skip_entry();
      return;
    }
    attach({.kind = Node::Kind::kNull, .position = position_of(mark)});
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    refuse_anchor(mark, 1);
  }
  void OnAnchor(const YAML::Mark& mark, const std::string& /*name*/) override {
    refuse_anchor(mark, 1);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (awaits_key()) {
      start_entry(mark, value);
      return;
    }
    attach({.kind = Node::Kind::kScalar,
            .position = position_of(mark),
            .text = value,
            .quoted = tag == "!"});
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    start_collection(Node::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { end_collection(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    start_collection(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { end_collection(); }

 private:
  struct Open {
    Node node;
    std::unordered_map<std::string, Position> seen;  // keys of a map
    bool has_key = false;                            // a key waits for its value
    bool skips_value = false;                        // ... which is dropped: the key is no good
    bool is_key = false;                             // this collection stands where a key should
    std::string key;
    Position key_position;
  };

  [[nodiscard]] Position position_of(const YAML::Mark& mark) const {
    if (fixed_ != nullptr) return *fixed_;
    return {.name = name_, .line = mark.line + 1, .column = mark.column + 1};
  }

  [[noreturn]] void stop(const YAML::Mark& mark, std::string_view message) {
    problems_.add(position_of(mark), message);
    throw StopParsing{};
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0)
      stop(mark, "anchors and aliases (&, *) are not supported; write the value out");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      stop(mark, fmt::format("YAML tags ('{}') are not supported", printable(tag)));
    }
  }

  // Not the end of the parse: a bracket that was never closed also looks like this at first, and
  // yaml-cpp then has the better message.
  void note_bad_key(const YAML::Mark& mark, std::string_view message) {
    if (bad_key_message_.empty()) bad_key_position_ = position_of(mark);
    if (bad_key_message_.empty()) bad_key_message_ = message;
  }

  // As if a key had been read whose value is of no interest.
  void skip_entry() {
    open_.back().key.clear();
    open_.back().has_key = true;
    open_.back().skips_value = true;
  }

  [[nodiscard]] bool awaits_key() const {
    return !open_.empty() && open_.back().node.kind == Node::Kind::kMap && !open_.back().has_key;
  }

  void start_entry(const YAML::Mark& mark, const std::string& key) {
    Open& map = open_.back();
    map.has_key = true;
    map.key = key;
    map.key_position = position_of(mark);
    const auto [first, inserted] = map.seen.emplace(key, map.key_position);
    map.skips_value = !inserted;
    if (map.skips_value) {
      const std::string where = first->second.line == 0
                                    ? std::string()
                                    : fmt::format(" (first on line {})", first->second.line);
      problems_.add(map.key_position, fmt::format("duplicate key '{}'{}", printable(key), where));
    }
  }

  void start_collection(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
                        YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    const bool is_key = awaits_key();
    if (is_key) note_bad_key(mark, "a key must be plain text");
    if (open_.size() >= kMaxDepth) {
      stop(mark, fmt::format("nested deeper than {} levels", kMaxDepth));
    }
    open_.emplace_back();
    open_.back().node.kind = kind;
    open_.back().node.position = position_of(mark);
    open_.back().is_key = is_key;
  }

  void end_collection() {
    Node node = std::move(open_.back().node);
    const bool is_key = open_.back().is_key;
    open_.pop_back();
    if (is_key) {
      skip_entry();
    } else {
      attach(std::move(node));
    }
  }

  static Node* named(std::vector<Node>& items, const std::string& key) {
    const auto found = std::find_if(items.begin(), items.end(),
                                    [&key](const Node& item) { return item.key == key; });
    return found == items.end() ? nullptr : &*found;
  }

  // The rest of a group that is there twice, so that nothing of it counts as missing.
  static void merge(Node& first, Node second) {
    if (second.kind != Node::Kind::kMap) return;
    if (first.kind == Node::Kind::kNull) first.kind = Node::Kind::kMap;
    if (first.kind != Node::Kind::kMap) return;
    for (Node& item : second.items) {
      if (Node* const same = named(first.items, item.key)) {
        merge(*same, std::move(item));
      } else {
        first.items.push_back(std::move(item));
      }
    }
  }

  void attach(Node node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == Node::Kind::kList) {
      parent.node.items.push_back(std::move(node));
      return;
    }
    parent.has_key = false;
    if (parent.skips_value) {
      if (Node* const first = named(parent.node.items, parent.key)) merge(*first, std::move(node));
      return;
    }
    // An empty value is at the next token for yaml-cpp, which may be lines away.
    if (node.kind == Node::Kind::kNull) node.position = parent.key_position;
    node.key = std::move(parent.key);
    node.key_position = parent.key_position;
    parent.node.items.push_back(std::move(node));
  }

  std::shared_ptr<const std::string> name_;
  const Position* fixed_;
  Problems& problems_;
  Node root_;
  std::vector<Open> open_;
  std::string bad_key_message_;
  Position bad_key_position_;
};

struct LineColumn {
  int line = 1;
  int column = 1;
};

LineColumn line_column_of(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0
  return {.line = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n')),
          .column = 1 + static_cast<int>(offset - line_start)};
}

// Offset of the first tab at the start of a line, or npos. YAML forbids it even on blank lines.
std::size_t indenting_tab(std::string_view text) {
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t content = text.find_first_not_of(' ', start);
    if (content != std::string_view::npos && text[content] == '\t') return content;
    start = std::min(text.find('\n', start), text.size() - 1) + 1;
  }
  return std::string_view::npos;
}

// Whatever is in it: its own problems would only distract.
bool has_another_document(YAML::Parser& parser, const std::shared_ptr<const std::string>& name,
                          const Position* fixed) {
  Problems ignored;
  TreeBuilder builder(name, fixed, ignored);
  try {
    return parser.HandleNextDocument(builder);
  } catch (const StopParsing&) {
    return true;
  }
}

// Runs yaml-cpp over `yaml`; `label` goes in front of what it complains about.
std::optional<Node> parse(std::string_view yaml, const std::shared_ptr<const std::string>& name,
                          const Position* fixed, std::string_view label, Problems& problems) {
  TreeBuilder builder(name, fixed, problems);
  std::istringstream stream{std::string(yaml)};
  const auto where = [&](const YAML::Mark& mark) {
    if (fixed != nullptr) return *fixed;
    return Position{.name = name, .line = mark.line + 1, .column = mark.column + 1};
  };
  try {
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder)) {
      if (has_another_document(parser, name, fixed)) {
        problems.add({.name = name}, fmt::format("{}more than one YAML document", label));
      }
    }
  } catch (const StopParsing&) {
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    problems.add(where(error.mark),
                 fmt::format("{}not valid YAML: {}", label, printable(error.msg)));
    return std::nullopt;
  }
  return builder.take();
}

}  // namespace

std::string Position::text() const {
  return line == 0 ? *name : fmt::format("{}:{}:{}", *name, line, column);
}

std::string Position::origin() const {
  return line == 0 ? *name : fmt::format("{}:{}", *name, line);
}

std::string Node::description() const {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kScalar:
      return quoted ? fmt::format("the text \"{}\"", printable(text))
                    : fmt::format("'{}'", printable(text));
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a map";
  }
  return {};
}

bool Node::is_none() const {
  return kind == Kind::kNull || (kind == Kind::kScalar && !quoted && text == "none");
}

void Problems::add(const Position& position, std::string_view message) {
  if (full()) {
    ++num_left_out_;
  } else {
    lines_.push_back(fmt::format("{}: {}", position.text(), message));
  }
}

Node parse_document(std::string_view yaml, const std::shared_ptr<const std::string>& name,
                    Problems& problems) {
  const auto fail_at = [&](std::size_t offset, std::string_view message) -> Node {
    const LineColumn at = line_column_of(yaml, offset);
    problems.add({.name = name, .line = at.line, .column = at.column}, message);
    problems.mark_incomplete();
    return {};
  };
  if (yaml.size() > kMaxConfigBytes)
    return fail_at(0, "larger than 256 KiB: not a configuration file");
  if (const auto at = first_control_character(yaml)) {
    return fail_at(*at, "a control character: not a text file");
  }
  if (const auto at = first_invalid_utf8(yaml)) return fail_at(*at, "not valid UTF-8");
  if (const std::size_t at = indenting_tab(yaml); at != std::string_view::npos) {
    return fail_at(at, "a tab in the indentation; use spaces");
  }
  auto root = parse(yaml, name, nullptr, "", problems);
  if (!root) problems.mark_incomplete();
  return std::move(root).value_or(Node{});
}

std::optional<Node> parse_value(std::string_view yaml, const Position& position,
                                std::string_view key, Problems& problems) {
  const std::string label = fmt::format("{}: ", printable(key));
  if (yaml.size() > kMaxConfigBytes || first_control_character(yaml) || first_invalid_utf8(yaml)) {
    problems.add(position, label + "the value is not plain text");
    return std::nullopt;
  }
  return parse(yaml, position.name, &position, label, problems);
}

}  // namespace switchyard::config
