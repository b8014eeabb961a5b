// Rows as tokens: `cls A sep` or `cls A sep B sep`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/data/special_tokens.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/glue/rows.h"

namespace switchyard::glue {

struct EncodedRow {
  std::vector<std::int32_t> token;
  double label = 0.0;
};

struct EncodedSet {
  std::vector<EncodedRow> rows;
  std::int64_t num_tokens = 0;
  std::int64_t num_cut = 0;  // rows that were longer than max_length
  std::int64_t longest = 0;
};

// Rows longer than `max_length` lose tokens from the end of their longer text, one at a time; of
// two equally long ones the second. Throws UsageError when max_length leaves no token of a text.
[[nodiscard]] EncodedSet encode_rows(const Task& task, const std::vector<Row>& rows,
                                     const data::Tokenizer& tokenizer, std::int64_t max_length);

// Of the tokens and labels, in order: the same hash, the same data.
[[nodiscard]] std::string fingerprint_of(const EncodedSet& set);

}  // namespace switchyard::glue
