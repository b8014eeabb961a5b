// LibTorch's flash attention on the simulated device: the arguments that CUDA's takes, and no
// others, computed by definition. What CUDA's does in silence with wrong ones is an error here.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "support/simulated_device/memory.h"
#include "support/simulated_device/operators.h"

namespace switchyard::simulated_device {
namespace {

using std::optional;

void check_heads(const at::Tensor& heads, const at::Tensor& q, const char* name) {
  TORCH_CHECK(heads.device() == q.device() && heads.is_cuda(), name, " is on ", heads.device(),
              ", q on ", q.device());
  TORCH_CHECK(heads.scalar_type() == at::kBFloat16 || heads.scalar_type() == at::kHalf,
              "flash attention takes fp16 and bf16, ", name, " is ", heads.scalar_type());
  TORCH_CHECK(heads.scalar_type() == q.scalar_type(), name, " has another dtype than q");
  TORCH_CHECK(heads.dim() == 3 && heads.size(2) == q.size(2), name, " is ", heads.sizes(),
              ", expected [tokens, heads, ", q.size(2), "]");
  TORCH_CHECK(heads.stride(2) == 1, name, " has heads whose elements are no neighbours");
  // Its rows are read 16 bytes at a time.
  TORCH_CHECK(reinterpret_cast<std::uintptr_t>(heads.const_data_ptr()) % 16 == 0 &&
                  heads.stride(0) % 8 == 0 && heads.stride(1) % 8 == 0,
              name, " has rows that are not aligned to 16 bytes: strides ", heads.strides());
}

at::Tensor check_numbers(const at::Tensor& numbers, const at::Tensor& q, std::int64_t count,
                         const char* name) {
  TORCH_CHECK(numbers.device() == q.device(), name, " is on ", numbers.device(), ", q on ",
              q.device());
  TORCH_CHECK(numbers.scalar_type() == at::kInt && numbers.dim() == 1 && numbers.is_contiguous(),
              name, " must be contiguous int32");
  TORCH_CHECK(numbers.size(0) == count, name, " has ", numbers.size(0), " numbers, expected ",
              count);
  return view_of(numbers);
}

struct Sequence {
  std::int64_t query_begin, num_queries, key_begin, num_keys;
};

std::vector<Sequence> check_sequences(const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& query_offset, const at::Tensor& key_offset,
                                      const optional<at::Tensor>& num_keys,
                                      std::int64_t max_queries, std::int64_t max_keys) {
  const std::int64_t batch = query_offset.numel() - 1;
  TORCH_CHECK(batch > 0, "flash attention of no sequences");
  const auto* begin_q =
      check_numbers(query_offset, q, batch + 1, "cum_seq_q").const_data_ptr<int>();
  const auto* begin_k = check_numbers(key_offset, q, batch + 1, "cum_seq_k").const_data_ptr<int>();
  const int* used = nullptr;
  if (num_keys) used = check_numbers(*num_keys, q, batch, "seqused_k").const_data_ptr<int>();
  TORCH_CHECK(begin_q[0] == 0 && begin_q[batch] == q.size(0), "cum_seq_q goes from ", begin_q[0],
              " to ", begin_q[batch], ", there are ", q.size(0), " queries");
  std::vector<Sequence> sequences;
  std::int64_t longest_q = 0;
  std::int64_t longest_k = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    const Sequence s{begin_q[b], begin_q[b + 1] - begin_q[b], begin_k[b],
                     used == nullptr ? begin_k[b + 1] - begin_k[b] : used[b]};
    TORCH_CHECK(s.num_queries >= 0 && s.num_keys >= 0 && s.key_begin >= 0 &&
                    s.key_begin + s.num_keys <= k.size(0),
                "sequence ", b, " has ", s.num_queries, " queries and keys ", s.key_begin, " + ",
                s.num_keys, " of ", k.size(0));
    longest_q = std::max(longest_q, s.num_queries);
    longest_k = std::max(longest_k, s.num_keys);
    sequences.push_back(s);
  }
  TORCH_CHECK(max_queries == longest_q && max_keys == longest_k, "max_q is ", max_queries, " of ",
              longest_q, ", max_k is ", max_keys, " of ", longest_k);
  // One query each: CUDA's takes the query heads of a group for a sequence.
  TORCH_CHECK(max_queries > 1 || q.size(1) == k.size(1) || q.size(0) == batch,
              "one query each, but not of every sequence");
  return sequences;
}

void check_call(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double dropout) {
  check_heads(q, q, "query");
  check_heads(k, q, "key");
  check_heads(v, q, "value");
  TORCH_CHECK(v.sizes() == k.sizes() && k.size(1) > 0 && q.size(1) % k.size(1) == 0, "q ",
              q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
  TORCH_CHECK(q.size(2) <= 256 && q.size(2) % 8 == 0, "heads of ", q.size(2));
  TORCH_CHECK(dropout == 0.0, "dropout is not simulated");
}

// One sequence's rows by head: [A, n, D] in fp32, those of keys once for every query head.
at::Tensor by_head(const at::Tensor& rows, std::int64_t begin, std::int64_t count,
                   std::int64_t num_heads) {
  return rows.narrow(0, begin, count)
      .to(at::kFloat)
      .transpose(0, 1)
      .repeat_interleave(num_heads / rows.size(1), 0);
}

// Scaled scores [A, n, m]; -Inf where a query does not see the key. The last query sees all keys.
at::Tensor scores_of(const at::Tensor& q, const at::Tensor& k, const Sequence& s, double scale,
                     bool causal) {
  at::Tensor scores = at::matmul(by_head(q, s.query_begin, s.num_queries, q.size(1)),
                                 by_head(k, s.key_begin, s.num_keys, q.size(1)).transpose(1, 2))
                          .mul(scale);
  if (!causal) return scores;
  const at::Tensor last_seen = at::arange(s.num_queries).add(s.num_keys - s.num_queries);
  return scores.masked_fill(at::arange(s.num_keys).gt(last_seen.unsqueeze(1)),
                            -std::numeric_limits<float>::infinity());
}

using Forward = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Forward forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                const optional<at::Tensor>& query_offset, const optional<at::Tensor>& key_offset,
                std::int64_t max_queries, std::int64_t max_keys, double dropout, bool causal,
                bool return_mask, optional<double> scale, optional<std::int64_t> window_left,
                optional<std::int64_t> window_right, const optional<at::Tensor>& num_keys,
                const optional<at::Tensor>& alibi_slopes) {
  const CurrentOperator current("aten::_flash_attention_forward");
  const at::NoGradGuard no_grad;
  TORCH_CHECK(
      query_offset && key_offset && !return_mask && !window_left && !window_right && !alibi_slopes,
      "only packed sequences are simulated, without windows, biases and masks");
  check_call(q, k, v, dropout);
  const auto sequences =
      check_sequences(q, k, *query_offset, *key_offset, num_keys, max_queries, max_keys);
  const double factor = scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(2))));
  const at::Tensor out = at::empty_like(q);
  const at::Tensor lse = at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat));
  for (const Sequence& s : sequences) {
    if (s.num_queries == 0) continue;
    const at::Tensor scores = scores_of(view_of(q), view_of(k), s, factor, causal);
    const at::Tensor lse_of_sequence = scores.logsumexp(2);
    const at::Tensor probs = scores.sub(lse_of_sequence.unsqueeze(2)).exp();
    view_of(out)
        .narrow(0, s.query_begin, s.num_queries)
        .copy_(at::matmul(probs, by_head(view_of(v), s.key_begin, s.num_keys, q.size(1)))
                   .transpose(0, 1));
    view_of(lse).narrow(1, s.query_begin, s.num_queries).copy_(lse_of_sequence);
  }
  const auto state = at::TensorOptions().dtype(at::kUInt64).device(q.device());
  return {out, lse, at::empty({2}, state), at::empty({}, state), at::empty({0}, q.options())};
}

// Each query head's gradients of keys, added up over the heads of a group.
void store_key_gradient(const at::Tensor& of_heads, const Sequence& s, const at::Tensor& to) {
  const std::int64_t num_groups = to.size(1);
  view_of(to)
      .narrow(0, s.key_begin, s.num_keys)
      .copy_(of_heads.view({num_groups, -1, s.num_keys, to.size(2)}).sum(1).transpose(0, 1));
}

// What CUDA's uses meanwhile, for memory to be counted: sums of dq in fp32, one more per row, and
// gradients of k and v for each query head where heads share keys.
std::vector<at::Tensor> memory_of_backward(const at::Tensor& q, const at::Tensor& k,
                                           std::int64_t num_sequences) {
  const std::int64_t multiple = q.size(2) <= 128 ? 32 : 64;
  const std::int64_t rows = q.size(0) + 128 * num_sequences;
  const auto sums = q.options().dtype(at::kFloat);
  std::vector<at::Tensor> work{
      at::empty({rows, q.size(1), (q.size(2) + multiple - 1) / multiple * multiple}, sums),
      at::empty({q.size(1), rows}, sums)};
  if (k.size(1) == q.size(1)) return work;
  for (int of_k_and_v = 0; of_k_and_v < 2; ++of_k_and_v) {
    work.push_back(at::empty({k.size(0), q.size(1), q.size(2)}, k.options()));
  }
  return work;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, const at::Tensor& query_offset,
    const at::Tensor& key_offset, std::int64_t max_queries, std::int64_t max_keys, double dropout,
    bool causal, const at::Tensor& random_state, const at::Tensor& unused, optional<double> scale,
    optional<std::int64_t> window_left, optional<std::int64_t> window_right) {
  const CurrentOperator current("aten::_flash_attention_backward");
  const at::NoGradGuard no_grad;
  TORCH_CHECK(!window_left && !window_right, "windows are not simulated");
  check_call(q, k, v, dropout);
  check_heads(dout, q, "grad_out");
  check_heads(out, q, "out");
  TORCH_CHECK(dout.sizes() == q.sizes() && out.sizes() == q.sizes(), "grad_out ", dout.sizes(),
              ", out ", out.sizes(), ", q ", q.sizes());
  TORCH_CHECK(lse.is_cuda() && lse.scalar_type() == at::kFloat && lse.is_contiguous() &&
                  lse.dim() == 2 && lse.size(0) == q.size(1) && lse.size(1) == q.size(0),
              "logsumexp must be fp32 [heads, tokens]");
  TORCH_CHECK(random_state.is_cuda() && unused.is_cuda(), "the random state is on the host");
  const auto sequences =
      check_sequences(q, k, query_offset, key_offset, std::nullopt, max_queries, max_keys);
  const double factor = scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(2))));
  const at::Tensor dq = at::empty_like(q);
  const at::Tensor dk = at::empty_like(k);
  const at::Tensor dv = at::empty_like(v);
  const std::int64_t heads = q.size(1);
  const std::vector<at::Tensor> work = memory_of_backward(q, k, query_offset.numel() - 1);
  for (const Sequence& s : sequences) {
    const at::Tensor probs =
        scores_of(view_of(q), view_of(k), s, factor, causal)
            .sub(view_of(lse).narrow(1, s.query_begin, s.num_queries).unsqueeze(2))
            .exp();
    const at::Tensor dout_AND = by_head(view_of(dout), s.query_begin, s.num_queries, heads);
    const at::Tensor out_AND = by_head(view_of(out), s.query_begin, s.num_queries, heads);
    const at::Tensor dprobs =
        at::matmul(dout_AND, by_head(view_of(v), s.key_begin, s.num_keys, heads).transpose(1, 2));
    const at::Tensor delta = dout_AND.mul(out_AND).sum(2, /*keepdim=*/true);
    const at::Tensor dscores = probs.mul(dprobs.sub(delta)).mul(factor);
    view_of(dq)
        .narrow(0, s.query_begin, s.num_queries)
        .copy_(at::matmul(dscores, by_head(view_of(k), s.key_begin, s.num_keys, heads))
                   .transpose(0, 1));
    store_key_gradient(at::matmul(dscores.transpose(1, 2),
                                  by_head(view_of(q), s.query_begin, s.num_queries, heads)),
                       s, dk);
    store_key_gradient(at::matmul(probs.transpose(1, 2), dout_AND), s, dv);
  }
  return {dq, dk, dv};
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("_flash_attention_forward", &forward);
  library.impl("_flash_attention_backward", &backward);
}

}  // namespace
}  // namespace switchyard::simulated_device
