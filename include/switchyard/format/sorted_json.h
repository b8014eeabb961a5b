// JSON objects that may have very many members, such as the header of a safetensors file, and what
// keeps JSON from taking more memory and time than its text deserves.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace switchyard::format {

// Finds members by a tree; Json (format/json.h) keeps their order and looks at one after the other.
using SortedJson = nlohmann::json;

// What the readers of this layer accept at most, beside kMaxJsonDepth. A parsed value takes up to
// about 100 bytes, from as few as two bytes of text; an object of n members costs n^2 steps as
// Json, so that parse_json() limits n.
inline constexpr std::size_t kMaxJsonValues = 2'000'000;
inline constexpr std::size_t kMaxJsonMembers = 10'000;

// As parse_json(), without a limit of members.
[[nodiscard]] SortedJson parse_sorted_json(std::string_view text, const std::string& name);

// As those of Json.
[[nodiscard]] std::string json_text(const SortedJson& json, int indent = -1);
[[nodiscard]] std::string json_string(const SortedJson& object, const char* key,
                                      const std::string& name);
[[nodiscard]] const SortedJson& json_array(const SortedJson& object, const char* key,
                                           const std::string& name);

}  // namespace switchyard::format
