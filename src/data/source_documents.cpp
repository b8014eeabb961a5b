#include "data/source_documents.h"

#include <cstddef>
#include <string>

#include "switchyard/format/jsonl.h"

namespace switchyard::data {
namespace {

constexpr std::size_t kMaxJsonLineBytes = std::size_t{1} << 30;

// Calls visit(document) for the parts of a text file; empty parts are no documents.
void for_each_part(std::string_view text, const std::string& separator,
                   const std::function<void(std::string_view)>& visit) {
  while (!text.empty()) {
    const std::size_t at = separator.empty() ? std::string_view::npos : text.find(separator);
    const std::string_view part = text.substr(0, at);
    if (!part.empty()) visit(part);
    if (at == std::string_view::npos) return;
    text.remove_prefix(at + separator.size());
    if (text.starts_with("\r\n")) {
      text.remove_prefix(2);
    } else if (text.starts_with('\n')) {
      text.remove_prefix(1);
    }
  }
}

DataError with_skip_hint(const DataError& error) {
  const std::string skip = "--skip-bad-records leaves such records out and counts them";
  return DataError(error.what(), error.hint().empty() ? skip : error.hint() + "; " + skip);
}

}  // namespace

void for_each_document_of(const SourceFile& source, std::string_view text,
                          const PrepareOptions& options,
                          const std::function<void(std::string_view)>& visit,
                          const std::function<void(const DataError&)>& skip) {
  if (!source.jsonl) {
    for_each_part(text, options.document_separator, visit);
    return;
  }
  format::LineReader lines(text, source.name, kMaxJsonLineBytes);
  while (const auto line = lines.next()) {
    if (line->text.find_first_not_of(" \t") == std::string_view::npos) continue;
    std::string field;
    try {
      field = format::text_field(*line, options.text_field, source.name);
    } catch (const DataError& error) {
      if (!options.skip_bad_records) throw with_skip_hint(error);
      skip(error);
      continue;
    }
    if (!field.empty()) visit(field);
  }
}

}  // namespace switchyard::data
