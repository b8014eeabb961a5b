// JSON: the input as lines with a text field, and as one value.
#include "switchyard/format/jsonl.h"

#include <string>

#include "fuzz/fuzz.h"
#include "switchyard/core/utf8.h"
#include "switchyard/format/json.h"
#include "switchyard/format/sorted_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace format = switchyard::format;
  using switchyard::fuzz::reads;
  using switchyard::fuzz::require;
  const std::string_view text = switchyard::fuzz::as_text(data, size);
  format::LineReader lines(text, "x.jsonl", 1 << 12);
  bool more = true;
  while (more) {
    (void)reads([&] {
      const auto line = lines.next();
      more = line.has_value();
      if (!more) return;
      const std::string field = format::text_field(*line, "text", "x.jsonl");
      require(!switchyard::first_invalid_utf8(field).has_value(), "a text field is UTF-8");
    });
  }
  const bool ordered = reads([&] {
    const format::Json json = format::parse_json(text, "x.json");
    require(format::parse_json(json.dump(), "again.json") == json, "JSON survives being written");
  });
  const bool sorted = reads([&] { (void)format::parse_sorted_json(text, "x.json"); });
  require(ordered == sorted, "both readers of JSON agree");
  return 0;
}
