#include "switchyard/model/kv_cache.h"

#include <ATen/ops/empty.h>

#include "switchyard/core/error.h"

namespace switchyard::model {

KvCache::KvCache(const config::ModelConfig& config, std::int64_t num_sequences,
                 std::int64_t capacity, const ops::PrecisionPolicy& precision)
    : capacity_(capacity), length_(static_cast<std::size_t>(num_sequences), 0) {
  const auto options = at::TensorOptions().dtype(precision.compute).device(precision.device);
  const std::vector<std::int64_t> shape{num_sequences * capacity, config.num_kv_heads,
                                        config.head_dim};
  layers_.reserve(static_cast<std::size_t>(config.num_layers));
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    layers_.push_back({.k_RGD = at::empty(shape, options), .v_RGD = at::empty(shape, options)});
  }
}

const KvCache::Layer& KvCache::append(std::int64_t layer, const at::Tensor& k_TGD,
                                      const at::Tensor& v_TGD,
                                      const std::vector<std::int64_t>& sequence_offset) {
  SWITCHYARD_CHECK(static_cast<std::int64_t>(sequence_offset.size()) == num_sequences() + 1,
                   "a cache of {} sequences got a batch of {}", num_sequences(),
                   sequence_offset.size() - 1);
  Layer& cache = layers_.at(static_cast<std::size_t>(layer));
  for (std::size_t b = 0; b + 1 < sequence_offset.size(); ++b) {
    const std::int64_t begin = sequence_offset[b];
    const std::int64_t count = sequence_offset[b + 1] - begin;
    SWITCHYARD_CHECK(length_[b] + count <= capacity_, "sequence {}: {} cached + {} new > {}", b,
                     length_[b], count, capacity_);
    const std::int64_t row = static_cast<std::int64_t>(b) * capacity_ + length_[b];
    cache.k_RGD.narrow(0, row, count).copy_(k_TGD.narrow(0, begin, count));
    cache.v_RGD.narrow(0, row, count).copy_(v_TGD.narrow(0, begin, count));
  }
  return cache;
}

void KvCache::advance(const std::vector<std::int64_t>& sequence_offset) {
  for (std::size_t b = 0; b + 1 < sequence_offset.size(); ++b) {
    length_[b] += sequence_offset[b + 1] - sequence_offset[b];
  }
}

}  // namespace switchyard::model
