// Token windows to the packed micro-batches that models take.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/data/sample_source.h"
#include "switchyard/model/batch.h"

namespace switchyard::inference {

struct BatchOptions {
  // False: attention and positions restart where a document begins. With a separator that is at
  // the separator before it, which so predicts the document's first token and is itself predicted
  // by the document before: no label is lost. Without one it is at the first token, which nothing
  // predicts then.
  bool attend_across_documents = true;
  std::optional<std::int32_t> separator = {};
  // Index of the first window in the step's global batch, for dropout masks.
  std::int64_t first_sequence_idx = 0;
  // For each window the number of labels at its beginning that do not count; empty: all count.
  std::vector<std::int64_t> num_uncounted = {};
};

// Windows of S + 1 tokens each -> B * S tokens with their next tokens as labels. Throws
// InternalError for windows of different length.
[[nodiscard]] model::MicroBatch make_batch(std::span<const data::Sample> windows,
                                           const BatchOptions& options);

// Sequences of unequal lengths, side by side, nothing padded.
struct PackOptions {
  std::int64_t first_sequence_idx = 0;  // of the first row in the step's global batch
  std::int64_t row_stride = 0;          // tokens that a row may have: S, for dropout masks
  // For each row, ascending, where in it a further sequence begins; empty: every row is one.
  std::vector<std::vector<std::int64_t>> cuts = {};
};
// Rows of 1 to row_stride tokens -> a batch without labels. Throws InternalError for others.
[[nodiscard]] model::Batch pack_rows(std::span<const std::vector<std::int32_t>> rows,
                                     const PackOptions& options);

}  // namespace switchyard::inference
