#include "switchyard/format/json.h"

#include <fmt/format.h>

#include <cstddef>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/format/sorted_json.h"

namespace switchyard::format {
namespace {

constexpr std::size_t kLongestReason = 240;  // the library quotes the token it stumbled over

// Walks a text without keeping it. Parsing comes second, because the library's parser with a
// callback looks at all siblings again at the end of every value.
class LimitCheck : public nlohmann::json_sax<Json> {
 public:
  LimitCheck(const std::string& name, std::size_t max_members)
      : name_(name), max_members_(max_members) {}

  bool null() override { return value(); }
  bool boolean(bool /*value*/) override { return value(); }
  bool number_integer(number_integer_t /*value*/) override { return value(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return value(); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return value(); }
  bool string(string_t& /*value*/) override { return value(); }
  bool binary(binary_t& /*value*/) override { return value(); }
  bool start_object(std::size_t /*elements*/) override { return open(); }
  bool start_array(std::size_t /*elements*/) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& key) override {
    std::set<std::string>& keys = keys_.back();
    if (keys.size() >= max_members_) {
      throw DataError(fmt::format("{}: an object has more than {} members", name_, max_members_));
    }
    if (const auto [place, is_new] = keys.insert(std::move(key)); !is_new) {
      throw DataError(fmt::format("{}: the key '{}' appears twice", name_, printable(*place)));
    }
    return true;
  }

  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    // The library's text names line and column; only its own prefix is dropped.
    std::string_view reason = error.what();
    if (const auto end = reason.find("] "); end != std::string_view::npos) {
      reason.remove_prefix(end + 2);
    }
    throw DataError(
        fmt::format("{}: not valid JSON: {}", name_, printable(reason, kLongestReason)));
  }

 private:
  bool value() {
    if (++num_values_ > kMaxJsonValues) {
      throw DataError(fmt::format("{}: more than {} values", name_, kMaxJsonValues));
    }
    return true;
  }
  bool open() {
    if (keys_.size() >= kMaxJsonDepth) {
      throw DataError(fmt::format("{}: nested deeper than {} levels", name_, kMaxJsonDepth));
    }
    keys_.emplace_back();
    return value();
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  const std::string& name_;
  std::size_t max_members_;
  std::size_t num_values_ = 0;
  std::vector<std::set<std::string>> keys_;  // of what is open; empty for arrays
};

void check_limits(std::string_view text, const std::string& name, std::size_t max_members) {
  LimitCheck check(name, max_members);
  Json::sax_parse(text.begin(), text.end(), &check);
}

template <typename J>
const J& member(const J& object, const char* key, const std::string& name) {
  if (!object.is_object()) throw DataError(fmt::format("{}: expected a JSON object", name));
  const auto found = object.find(key);
  if (found == object.end()) {
    throw DataError(fmt::format("{}: '{}' is missing", name, printable(key)));
  }
  return *found;
}

template <typename J>
const J& typed_member(const J& object, const char* key, const std::string& name,
                      bool (*accepts)(const J&), const char* expected) {
  const J& value = member(object, key, name);
  if (!accepts(value)) {
    throw DataError(fmt::format("{}: '{}' is {}, expected {}", name, printable(key),
                                value.type_name(), expected));
  }
  return value;
}

template <typename J>
bool is_string(const J& value) {
  return value.is_string();
}

template <typename J>
bool is_list(const J& value) {
  return value.is_array();
}

}  // namespace

Json parse_json(std::string_view text, const std::string& name) {
  check_limits(text, name, kMaxJsonMembers);
  return Json::parse(text.begin(), text.end());
}

SortedJson parse_sorted_json(std::string_view text, const std::string& name) {
  check_limits(text, name, std::numeric_limits<std::size_t>::max());
  return SortedJson::parse(text.begin(), text.end());
}

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string json_text(const SortedJson& json, int indent) {
  return json.dump(indent, ' ', false, SortedJson::error_handler_t::replace);
}

const Json& json_member(const Json& object, const char* key, const std::string& name) {
  return member(object, key, name);
}

std::string json_string(const Json& object, const char* key, const std::string& name) {
  return typed_member<Json>(object, key, name, &is_string, "a string").get<std::string>();
}

std::string json_string(const SortedJson& object, const char* key, const std::string& name) {
  return typed_member<SortedJson>(object, key, name, &is_string, "a string").get<std::string>();
}

std::int64_t json_integer(const Json& object, const char* key, const std::string& name) {
  const Json& value = typed_member<Json>(
      object, key, name,
      [](const Json& candidate) {
        return candidate.is_number_integer() &&
               (!candidate.is_number_unsigned() || candidate.get<std::uint64_t>() <= INT64_MAX);
      },
      "an integer of 64 bits");
  return value.get<std::int64_t>();
}

double json_number(const Json& object, const char* key, const std::string& name) {
  return typed_member<Json>(
             object, key, name, [](const Json& value) { return value.is_number(); }, "a number")
      .get<double>();
}

bool json_bool(const Json& object, const char* key, const std::string& name) {
  return typed_member<Json>(
             object, key, name, [](const Json& value) { return value.is_boolean(); },
             "true or false")
      .get<bool>();
}

const Json& json_object(const Json& object, const char* key, const std::string& name) {
  return typed_member<Json>(
      object, key, name, [](const Json& value) { return value.is_object(); }, "an object");
}

const Json& json_array(const Json& object, const char* key, const std::string& name) {
  return typed_member<Json>(object, key, name, &is_list, "a list");
}

const SortedJson& json_array(const SortedJson& object, const char* key, const std::string& name) {
  return typed_member<SortedJson>(object, key, name, &is_list, "a list");
}

}  // namespace switchyard::format
