#include "switchyard/format/jsonl.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"

namespace switchyard::format {
namespace {

// Takes one top-level string field and counts nesting; nothing else is kept.
class FieldExtractor : public nlohmann::json_sax<Json> {
 public:
  FieldExtractor(std::string_view field, std::string where)
      : field_(field), where_(std::move(where)) {}

  bool null() override { return scalar("null"); }
  bool boolean(bool /*value*/) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t /*value*/) override { return scalar("a number"); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return scalar("a number"); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
    return scalar("a number");
  }
  bool string(string_t& value) override {
    if (at_field()) {
      value_ = std::move(value);
      found_ = true;
      return true;
    }
    return scalar("a string");
  }
  bool binary(binary_t& /*value*/) override { return scalar("binary"); }
  bool start_object(std::size_t /*elements*/) override { return enter("an object"); }
  bool start_array(std::size_t /*elements*/) override {
    if (depth_ == 0) not_an_object("a list");
    return enter("a list");
  }
  bool key(string_t& name) override {
    if (depth_ == 1) {
      is_field_ = name == field_;
      if (is_field_ && seen_) {
        throw DataError(fmt::format("{}: the field '{}' appears twice", where_, field_));
      }
      seen_ = seen_ || is_field_;
      if (keys_.size() < kMaxListedKeys) keys_.push_back(printable(name));
    }
    return true;
  }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    std::string_view reason = error.what();
    if (const auto end = reason.find("column"); end != std::string_view::npos) {
      const auto colon = reason.find(": ", end);
      if (colon != std::string_view::npos) reason.remove_prefix(colon + 2);
    }
    throw DataError(
        fmt::format("{}:{}: not valid JSON: {}", where_, position, printable(reason, 240)));
  }

  [[nodiscard]] std::string take() {
    if (!found_) {
      throw DataError(
          fmt::format("{}: no field '{}'; the object has: {}", where_, field_, join(keys_, ", ")),
          "name the field that holds the text with --text-field");
    }
    return std::move(value_);
  }

 private:
  static constexpr std::size_t kMaxListedKeys = 20;

  [[nodiscard]] bool at_field() const { return depth_ == 1 && is_field_; }
  [[noreturn]] void not_an_object(const char* kind) const {
    throw DataError(
        fmt::format("{}: expected a JSON object on every line, found {}", where_, kind));
  }
  bool scalar(const char* kind) {
    if (depth_ == 0) not_an_object(kind);
    if (at_field()) wrong_type(kind);
    return true;
  }
  [[noreturn]] void wrong_type(const char* kind) const {
    throw DataError(
        fmt::format("{}: the field '{}' is {}, expected a string", where_, field_, kind));
  }
  bool enter(const char* kind) {
    if (at_field()) wrong_type(kind);
    if (++depth_ > kMaxJsonDepth) {
      throw DataError(fmt::format("{}: nested deeper than {} levels", where_, kMaxJsonDepth));
    }
    return true;
  }
  bool leave() {
    --depth_;
    return true;
  }

  std::string_view field_;
  std::string where_;
  std::size_t depth_ = 0;
  bool is_field_ = false;
  bool seen_ = false;
  bool found_ = false;
  std::string value_;
  std::vector<std::string> keys_;
};

}  // namespace

LineReader::LineReader(std::string_view text, std::string name, std::size_t max_line_bytes)
    : text_(text), name_(std::move(name)), max_line_bytes_(max_line_bytes) {}

std::optional<LineReader::Line> LineReader::next() {
  if (offset_ >= text_.size()) return std::nullopt;
  const std::size_t begin = offset_;
  const std::size_t newline = text_.find('\n', begin);
  std::size_t end = newline == std::string_view::npos ? text_.size() : newline;
  offset_ = newline == std::string_view::npos ? text_.size() : newline + 1;
  ++number_;
  if (end - begin > max_line_bytes_) {
    throw DataError(fmt::format("{}:{}: the line at offset {} has {} bytes, more than {}", name_,
                                number_, begin, end - begin, max_line_bytes_));
  }
  if (end > begin && text_[end - 1] == '\r') --end;
  return Line{text_.substr(begin, end - begin), number_, begin};
}

std::string text_field(const LineReader::Line& line, std::string_view field,
                       const std::string& name) {
  FieldExtractor extractor(field, fmt::format("{}:{}", name, line.number));
  Json::sax_parse(line.text.begin(), line.text.end(), &extractor);
  return extractor.take();
}

}  // namespace switchyard::format
