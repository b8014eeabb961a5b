// Tab-separated values, with and without a header line.
#include "switchyard/format/tsv.h"

#include <string>

#include "fuzz/fuzz.h"

namespace {

void read(std::string_view text, switchyard::format::TsvReader::Header header) {
  using switchyard::fuzz::require;
  (void)switchyard::fuzz::reads([&] {
    switchyard::format::TsvReader reader(text, "x.tsv", header);
    for (std::size_t i = 0; i < reader.columns().size(); ++i) {
      require(reader.column(reader.columns()[i]) == i, "a column is found by its name");
    }
    (void)switchyard::fuzz::reads([&] { (void)reader.column("label"); });
    std::size_t num_fields = reader.columns().size();
    bool more = true;
    while (more) {
      (void)switchyard::fuzz::reads([&] {
        const auto row = reader.next();
        more = row.has_value();
        if (!more) return;
        if (num_fields == 0) num_fields = row->field.size();
        require(row->field.size() == num_fields, "rows have one length");
        for (const std::string_view field : row->field) {
          require(field.find_first_of("\t\n") == std::string_view::npos, "fields are cut");
        }
      });
    }
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = switchyard::fuzz::as_text(data, size);
  read(text, switchyard::format::TsvReader::Header::kFirstLine);
  read(text, switchyard::format::TsvReader::Header::kNone);
  return 0;
}
