#include "switchyard/format/json.h"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::format {
namespace {

const Json& typed_member(const Json& object, const char* key, const std::string& name,
                         bool (*accepts)(const Json&), const char* expected) {
  const Json& value = json_member(object, key, name);
  if (!accepts(value)) {
    throw DataError(
        fmt::format("{}: '{}' is {}, expected {}", name, key, value.type_name(), expected));
  }
  return value;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& name) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open; empty for arrays
  const auto watch = [&](int /*depth*/, Json::parse_event_t event, Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        if (keys.size() >= kMaxJsonDepth) {
          throw DataError(fmt::format("{}: nested deeper than {} levels", name, kMaxJsonDepth));
        }
        keys.emplace_back();
        break;
      case Json::parse_event_t::object_end:
      case Json::parse_event_t::array_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!keys.back().insert(parsed.get<std::string>()).second) {
          throw DataError(
              fmt::format("{}: the key '{}' appears twice", name, parsed.get<std::string>()));
        }
        break;
      case Json::parse_event_t::value:
        break;
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& error) {
    // The library's text names line and column; only its own prefix is dropped.
    std::string_view reason = error.what();
    if (const auto end = reason.find("] "); end != std::string_view::npos) {
      reason.remove_prefix(end + 2);
    }
    throw DataError(fmt::format("{}: not valid JSON: {}", name, reason));
  }
}

const Json& json_member(const Json& object, const char* key, const std::string& name) {
  if (!object.is_object()) throw DataError(fmt::format("{}: expected a JSON object", name));
  const auto found = object.find(key);
  if (found == object.end()) throw DataError(fmt::format("{}: '{}' is missing", name, key));
  return *found;
}

std::string json_string(const Json& object, const char* key, const std::string& name) {
  return typed_member(
             object, key, name, [](const Json& value) { return value.is_string(); }, "a string")
      .get<std::string>();
}

std::int64_t json_integer(const Json& object, const char* key, const std::string& name) {
  const Json& value = typed_member(
      object, key, name,
      [](const Json& candidate) {
        return candidate.is_number_integer() &&
               (!candidate.is_number_unsigned() || candidate.get<std::uint64_t>() <= INT64_MAX);
      },
      "an integer of 64 bits");
  return value.get<std::int64_t>();
}

double json_number(const Json& object, const char* key, const std::string& name) {
  return typed_member(
             object, key, name, [](const Json& value) { return value.is_number(); }, "a number")
      .get<double>();
}

bool json_bool(const Json& object, const char* key, const std::string& name) {
  return typed_member(
             object, key, name, [](const Json& value) { return value.is_boolean(); },
             "true or false")
      .get<bool>();
}

const Json& json_object(const Json& object, const char* key, const std::string& name) {
  return typed_member(
      object, key, name, [](const Json& value) { return value.is_object(); }, "an object");
}

const Json& json_array(const Json& object, const char* key, const std::string& name) {
  return typed_member(
      object, key, name, [](const Json& value) { return value.is_array(); }, "a list");
}

}  // namespace switchyard::format
