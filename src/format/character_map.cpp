// The normalisation table inside a SentencePiece model: u32 trie size | double-array trie | the
// replacement strings, each ending in NUL. The library walks the trie without looking at its size,
// so every step that any text could take is tried here first.
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/little_endian.h"
#include "switchyard/core/error.h"

namespace switchyard::format {

void check_character_map(std::string_view map, const std::string& name);

namespace {

// The library collects the rules that match at one place into an array of this size.
constexpr int kMaxNestedRules = 32;

// One unit of a Darts-clone double array.
struct Unit {
  std::uint32_t bits;
  [[nodiscard]] bool has_leaf() const { return ((bits >> 8U) & 1U) != 0; }
  [[nodiscard]] std::uint32_t value() const { return bits & 0x7FFFFFFFU; }
  [[nodiscard]] std::uint32_t label() const { return bits & 0x800000FFU; }
  [[nodiscard]] std::uint32_t offset() const {
    return (bits >> 10U) << ((bits & (1U << 9U)) >> 6U);
  }
};

struct State {
  std::uint32_t base;     // the child for byte c is at base ^ c
  std::int8_t num_rules;  // that end on the way here
};

}  // namespace

void check_character_map(std::string_view map, const std::string& name) {
  const auto fail = [&name](const char* what) {
    throw DataError(fmt::format("{}: its normalisation table {}", name, what));
  };
  if (map.size() < 4) fail("is truncated");
  const auto bytes = std::as_bytes(std::span(map.data(), map.size()));
  const auto trie_bytes = load<std::uint32_t>(bytes, 0);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes >= map.size() - 4) {
    fail("has an impossible size");
  }
  const std::string_view replacements = map.substr(4 + std::size_t{trie_bytes});
  if (replacements.back() != '\0') fail("ends inside a replacement");
  const std::size_t num_units = trie_bytes / 4;
  const auto unit_at = [&bytes](std::size_t index) {
    return Unit{load<std::uint32_t>(bytes, 4 + index * 4)};
  };

  // Tails are shared, so a unit may be reached on several ways: it is tried again when more rules
  // end on the new one. A ring is harmless without rules, and one with rules exceeds the limit.
  std::vector<std::int8_t> most_rules(num_units, -1);
  std::vector<State> open{{unit_at(0).offset(), 0}};
  while (!open.empty()) {
    const State state = open.back();
    open.pop_back();
    if ((state.base | 0xFFU) >= num_units) fail("points outside itself");
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t place = state.base ^ byte;
      const Unit unit = unit_at(place);
      if (unit.label() != byte) continue;
      State child{place ^ unit.offset(), state.num_rules};
      if (unit.has_leaf()) {
        if (child.base >= num_units) fail("points outside itself");
        if (unit_at(child.base).value() >= replacements.size()) fail("points outside its strings");
        if (++child.num_rules > kMaxNestedRules) fail("nests too many rules");
      }
      if (child.num_rules <= most_rules[place]) continue;
      most_rules[place] = child.num_rules;
      open.push_back(child);
    }
  }
}

}  // namespace switchyard::format
