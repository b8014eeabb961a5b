// Rows as tokens: `cls A sep` or `cls A sep B sep` for encoders; without cls for decoders, whose
// sep is what separates documents.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "switchyard/data/special_tokens.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/glue/rows.h"

namespace switchyard::glue {

struct EncodedRow {
  std::vector<std::int32_t> token;
  std::int64_t second = 0;  // of a pair: where in `token` its second text begins
  double label = 0.0;
};

struct EncodedSet {
  std::vector<EncodedRow> rows;
  std::int64_t num_tokens = 0;
  std::int64_t num_cut = 0;  // rows that were longer than max_length
  std::int64_t longest = 0;
};

struct RowFormat {
  std::int64_t max_length = 0;  // tokens of a row, special ones included
  bool causal = false;          // for decoders
};

// Rows longer than `max_length` lose tokens from the end of their longer text, one at a time; of
// two equally long ones the second. Throws UsageError when max_length leaves no token of a text,
// and for a decoder whose tokenizer separates no documents.
[[nodiscard]] EncodedSet encode_rows(const Task& task, const std::vector<Row>& rows,
                                     const data::Tokenizer& tokenizer, const RowFormat& format);

// Of the tokens and labels, in order: the same hash, the same data.
[[nodiscard]] std::string fingerprint_of(std::span<const EncodedSet> sets);

}  // namespace switchyard::glue
