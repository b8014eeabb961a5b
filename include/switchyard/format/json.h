// JSON from files that nobody vouches for: parsing with bounded nesting, and typed access whose
// errors name the file and the key.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace switchyard::format {

using Json = nlohmann::ordered_json;

// Deepest nesting that any reader of this layer accepts.
inline constexpr std::size_t kMaxJsonDepth = 64;

// Parses one JSON value. Throws DataError naming `name` and the byte offset: bad syntax, invalid
// UTF-8, a duplicate key, or nesting deeper than kMaxJsonDepth.
[[nodiscard]] Json parse_json(std::string_view text, const std::string& name);

// On one line, or with `indent` spaces a level. Bytes that are no UTF-8, as paths and variables may
// hold, become U+FFFD: the library's own dump() throws at them. NaN and infinity become null.
[[nodiscard]] std::string json_text(const Json& json, int indent = -1);

// One key of an object. All throw DataError naming `name` and `key` when `object` is no object,
// the key is missing, or its value has another type (integers: or does not fit).
[[nodiscard]] const Json& json_member(const Json& object, const char* key, const std::string& name);
[[nodiscard]] std::string json_string(const Json& object, const char* key, const std::string& name);
[[nodiscard]] std::int64_t json_integer(const Json& object, const char* key,
                                        const std::string& name);
[[nodiscard]] double json_number(const Json& object, const char* key, const std::string& name);
[[nodiscard]] bool json_bool(const Json& object, const char* key, const std::string& name);
[[nodiscard]] const Json& json_object(const Json& object, const char* key, const std::string& name);
[[nodiscard]] const Json& json_array(const Json& object, const char* key, const std::string& name);

}  // namespace switchyard::format
