// Keys and values of tokens already seen, so that generation computes only the new ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::model {

// Room for `capacity` tokens of each of `num_sequences` sequences in every layer.
// Trunk::forward appends the batch's tokens to every layer, then counts them once.
class KvCache {
 public:
  KvCache(const config::ModelConfig& config, std::int64_t num_sequences, std::int64_t capacity,
          const ops::PrecisionPolicy& precision);

  // Keys (after rotation) and values of one layer, [num_sequences * capacity, G, D].
  struct Layer {
    at::Tensor k_RGD;
    at::Tensor v_RGD;
  };
  // Writes rows [sequence_offset[b], sequence_offset[b+1]) of k and v behind sequence b's cached
  // rows. Throws InternalError when they do not fit.
  const Layer& append(std::int64_t layer, const at::Tensor& k_TGD, const at::Tensor& v_TGD,
                      const std::vector<std::int64_t>& sequence_offset);
  // Counts the batch's tokens as cached; called once per forward, after the last layer.
  void advance(const std::vector<std::int64_t>& sequence_offset);

  [[nodiscard]] std::int64_t num_sequences() const {
    return static_cast<std::int64_t>(length_.size());
  }
  [[nodiscard]] std::int64_t capacity() const { return capacity_; }
  // Tokens cached of sequence b; the position of its next token.
  [[nodiscard]] std::int64_t length(std::int64_t sequence) const {
    return length_.at(static_cast<std::size_t>(sequence));
  }

 private:
  std::int64_t capacity_;
  std::vector<Layer> layers_;
  std::vector<std::int64_t> length_;
};

}  // namespace switchyard::model
