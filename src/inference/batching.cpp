#include "switchyard/inference/batching.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "switchyard/core/error.h"

namespace switchyard::inference {
namespace {

constexpr std::int64_t kNoLabel = -1;

// For each of the S inputs: does a sequence begin here, and is its label lost to that?
struct Cuts {
  std::vector<bool> begins;
  std::vector<bool> loses_label;
};

Cuts find_cuts(const data::Sample& window, const BatchOptions& options) {
  const std::size_t length = window.token.size() - 1;
  Cuts cuts{.begins = std::vector<bool>(length), .loses_label = std::vector<bool>(length)};
  cuts.begins[0] = true;
  if (options.attend_across_documents) return cuts;
  if (options.separator.has_value()) {
    for (std::size_t i = 1; i < length; ++i) {
      cuts.begins[i] = window.token[i] == *options.separator;
    }
    return cuts;
  }
  for (const std::int64_t start : window.document_start) {
    const auto i = static_cast<std::size_t>(start);
    if (i < length) cuts.begins[i] = true;
    if (i > 0) cuts.loses_label[i - 1] = true;
  }
  return cuts;
}

}  // namespace

model::MicroBatch make_batch(std::span<const data::Sample> windows, const BatchOptions& options) {
  SWITCHYARD_CHECK(!windows.empty() && windows[0].token.size() >= 2, "a batch without tokens");
  const std::size_t length = windows[0].token.size() - 1;  // S
  const auto num_tokens = static_cast<std::int64_t>(windows.size() * length);

  model::MicroBatch micro;
  model::Batch& batch = micro.batch;
  batch.token_T = at::empty({num_tokens}, at::kLong);
  batch.label_T = at::empty({num_tokens}, at::kLong);
  batch.position_T = at::empty({num_tokens}, at::kLong);
  batch.token_idx_T = at::empty({num_tokens}, at::kLong);
  auto* token = batch.token_T.mutable_data_ptr<std::int64_t>();
  auto* label = batch.label_T.mutable_data_ptr<std::int64_t>();
  auto* position = batch.position_T.mutable_data_ptr<std::int64_t>();
  auto* token_idx = batch.token_idx_T.mutable_data_ptr<std::int64_t>();

  std::int64_t t = 0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const data::Sample& window = windows[w];
    SWITCHYARD_CHECK(window.token.size() == length + 1, "a window of {} tokens among windows of {}",
                     window.token.size(), length + 1);
    const Cuts cuts = find_cuts(window, options);
    const auto num_uncounted =
        static_cast<std::size_t>(options.num_uncounted.empty() ? 0 : options.num_uncounted.at(w));
    const std::int64_t sequence_idx = options.first_sequence_idx + static_cast<std::int64_t>(w);
    for (std::size_t i = 0; i < length; ++i, ++t) {
      if (cuts.begins[i]) batch.sequence_offset.push_back(t);
      const bool is_counted = i >= num_uncounted && !cuts.loses_label[i];
      token[t] = window.token[i];
      label[t] = is_counted ? window.token[i + 1] : kNoLabel;
      position[t] = t - batch.sequence_offset.back();
      token_idx[t] =
          sequence_idx * static_cast<std::int64_t>(length) + static_cast<std::int64_t>(i);
      micro.num_labels += is_counted ? 1 : 0;
    }
  }
  batch.num_positions = static_cast<std::int64_t>(length);
  batch.sequence_offset.push_back(num_tokens);
  batch.sequence_offset_B1 = at::tensor(batch.sequence_offset, at::kInt);
  micro.num_tokens = num_tokens;
  return micro;
}

model::Batch pack_rows(std::span<const std::vector<std::int32_t>> rows,
                       const PackOptions& options) {
  std::int64_t num_tokens = 0;
  for (const std::vector<std::int32_t>& row : rows) {
    SWITCHYARD_CHECK(!row.empty() && std::ssize(row) <= options.row_stride,
                     "a row of {} tokens where 1 to {} are allowed", row.size(),
                     options.row_stride);
    num_tokens += std::ssize(row);
  }
  model::Batch batch;
  batch.token_T = at::empty({num_tokens}, at::kLong);
  batch.position_T = at::empty({num_tokens}, at::kLong);
  batch.token_idx_T = at::empty({num_tokens}, at::kLong);
  auto* token = batch.token_T.mutable_data_ptr<std::int64_t>();
  auto* position = batch.position_T.mutable_data_ptr<std::int64_t>();
  auto* token_idx = batch.token_idx_T.mutable_data_ptr<std::int64_t>();
  std::int64_t t = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::vector<std::int32_t>& row = rows[r];
    const std::vector<std::int64_t> none;
    const std::vector<std::int64_t>& cuts = options.cuts.empty() ? none : options.cuts.at(r);
    auto cut = cuts.begin();
    const std::int64_t row_idx =
        (options.first_sequence_idx + static_cast<std::int64_t>(r)) * options.row_stride;
    for (std::int64_t i = 0; i < std::ssize(row); ++i, ++t) {
      const bool is_cut = cut != cuts.end() && *cut == i;
      if (i == 0 || is_cut) batch.sequence_offset.push_back(t);
      if (is_cut) ++cut;
      token[t] = row[static_cast<std::size_t>(i)];
      position[t] = t - batch.sequence_offset.back();
      token_idx[t] = row_idx + i;
      batch.num_positions = std::max(batch.num_positions, position[t] + 1);
    }
  }
  batch.sequence_offset.push_back(num_tokens);
  batch.sequence_offset_B1 = at::tensor(batch.sequence_offset, at::kInt);
  return batch;
}

}  // namespace switchyard::inference
