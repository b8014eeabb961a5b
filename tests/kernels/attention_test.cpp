#include "switchyard/kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/attention_reference.h"
#include "switchyard/kernels/bfloat16.h"

namespace switchyard::kernels {
namespace {

// Inputs are rounded to T; inside, fp32 sums of up to 400 terms of size 1.
template <typename T>
double tolerance() {
  if constexpr (std::is_same_v<T, double>) return 1e-12;
  if constexpr (std::is_same_v<T, float>) return 2e-5;
  return 0.06;  // bf16: 8 bits, through exp(scale * q.k)
}

template <typename T>
class AttentionKernel : public ::testing::Test {};
using StorageTypes = ::testing::Types<float, double, BFloat16>;
TYPED_TEST_SUITE(AttentionKernel, StorageTypes);

TYPED_TEST(AttentionKernel, AgreesWithExplicitProbabilities) {
  using T = TypeParam;
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(c.name);
    const AttentionReference reference(c);
    const AttentionInputs<T> inputs(c, reference);
    Guarded<T> out(c.num_queries() * c.num_heads * c.head_dim);
    Guarded<accumulation_t<T>> lse(c.num_heads * c.num_queries());
    cpu::attention(AttentionParams<T>{.shape = inputs.shape,
                                      .v = inputs.v_rows,
                                      .out = {out.data(), c.num_heads * c.head_dim, c.head_dim},
                                      .lse_AT = lse.data()});
    std::int64_t row = 0;
    for (std::int64_t head = 0; head < c.num_heads; ++head) {
      const std::int64_t group = head / (c.num_heads / c.num_groups);
      for (std::int64_t query = 0; query < c.num_queries(); ++query, ++row) {
        ASSERT_NEAR(lse[row], reference.lse[static_cast<std::size_t>(row)], tolerance<T>())
            << "head " << head << ", query " << query;
        for (std::int64_t d = 0; d < c.head_dim; ++d) {
          double expected = 0.0;
          for (std::int64_t key = 0; key < c.num_key_rows; ++key) {
            expected +=
                reference.probability[static_cast<std::size_t>(row * c.num_key_rows + key)] *
                reference
                    .v[static_cast<std::size_t>((key * c.num_groups + group) * c.head_dim + d)];
          }
          ASSERT_NEAR(out[(query * c.num_heads + head) * c.head_dim + d], expected, tolerance<T>())
              << "head " << head << ", query " << query << ", d " << d;
        }
      }
    }
    EXPECT_TRUE(out.bands_are_intact() && lse.bands_are_intact());
  }
}

// dO is random; the reference follows dV = P^T dO, dS = P (dO V^T - <dO, O>), dQ = s dS K,
// dK = s dS^T Q with explicit matrices.
TYPED_TEST(AttentionKernel, GradientsAgreeWithExplicitProbabilities) {
  using T = TypeParam;
  using Wide = accumulation_t<T>;
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(c.name);
    const AttentionReference reference(c);
    const AttentionInputs<T> inputs(c, reference);
    const std::int64_t query_size = c.num_queries() * c.num_heads * c.head_dim;
    const std::int64_t key_size = c.num_key_rows * c.num_groups * c.head_dim;
    const std::vector<double> dout = random_rows(query_size, 4);
    const std::vector<T> dout_rounded = rounded<T>(dout);
    std::vector<T> out(static_cast<std::size_t>(query_size));
    std::vector<Wide> lse(static_cast<std::size_t>(c.num_heads * c.num_queries()));
    const std::int64_t stride = c.num_heads * c.head_dim;
    const std::int64_t key_stride = c.num_groups * c.head_dim;
    cpu::attention(AttentionParams<T>{.shape = inputs.shape,
                                      .v = inputs.v_rows,
                                      .out = {out.data(), stride, c.head_dim},
                                      .lse_AT = lse.data()});
    Guarded<T> dq(query_size);
    Guarded<T> dk(key_size, 0.0);
    Guarded<T> dv(key_size, 0.0);
    cpu::attention_backward(
        AttentionBackwardParams<T>{.shape = inputs.shape,
                                   .v = inputs.v_rows,
                                   .out = {out.data(), stride, c.head_dim},
                                   .lse_AT = lse.data(),
                                   .dout = {dout_rounded.data(), stride, c.head_dim},
                                   .dq = {dq.data(), stride, c.head_dim},
                                   .dk = {dk.data(), key_stride, c.head_dim},
                                   .dv = {dv.data(), key_stride, c.head_dim}});

    std::vector<double> expected_dq(static_cast<std::size_t>(query_size), 0.0);
    std::vector<double> expected_dk(static_cast<std::size_t>(key_size), 0.0);
    std::vector<double> expected_dv(static_cast<std::size_t>(key_size), 0.0);
    std::int64_t row = 0;
    for (std::int64_t head = 0; head < c.num_heads; ++head) {
      const std::int64_t group = head / (c.num_heads / c.num_groups);
      for (std::int64_t query = 0; query < c.num_queries(); ++query, ++row) {
        const auto q_at = static_cast<std::size_t>((query * c.num_heads + head) * c.head_dim);
        const auto dim = static_cast<std::size_t>(c.head_dim);
        std::vector<double> dprob(static_cast<std::size_t>(c.num_key_rows), 0.0);
        double delta = 0.0;
        for (std::int64_t key = 0; key < c.num_key_rows; ++key) {
          const auto k_at = static_cast<std::size_t>((key * c.num_groups + group) * c.head_dim);
          const double p =
              reference.probability[static_cast<std::size_t>(row * c.num_key_rows + key)];
          double& dp = dprob[static_cast<std::size_t>(key)];
          for (std::size_t d = 0; d < dim; ++d) {
            dp += dout[q_at + d] * reference.v[k_at + d];
            expected_dv[k_at + d] += p * dout[q_at + d];
          }
          delta += p * dp;
        }
        for (std::int64_t key = 0; key < c.num_key_rows; ++key) {
          const auto k_at = static_cast<std::size_t>((key * c.num_groups + group) * c.head_dim);
          const double p =
              reference.probability[static_cast<std::size_t>(row * c.num_key_rows + key)];
          const double ds = reference.scale * p * (dprob[static_cast<std::size_t>(key)] - delta);
          for (std::size_t d = 0; d < dim; ++d) {
            expected_dq[q_at + d] += ds * reference.k[k_at + d];
            expected_dk[k_at + d] += ds * reference.q[q_at + d];
          }
        }
      }
    }
    // Gradients of k and v sum over up to 400 queries and three heads; bf16 then needs more room.
    const double limit = 5.0 * tolerance<T>();
    const auto compare = [&](const Guarded<T>& actual, const std::vector<double>& expected,
                             const char* what) {
      for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_NEAR(actual[static_cast<std::int64_t>(i)], expected[i],
                    limit * (1.0 + std::abs(expected[i])))
            << what << " element " << i;
      }
      EXPECT_TRUE(actual.bands_are_intact()) << what;
    };
    compare(dq, expected_dq, "dq");
    compare(dk, expected_dk, "dk");
    compare(dv, expected_dv, "dv");
  }
}

// Two keys with scores 0 and ln 3 have probabilities 1/4 and 3/4.
TEST(AttentionReference, AgreesWithANumberComputedByHand) {
  const std::vector<std::int64_t> offset{0, 2};
  const KeySpan span{0, 2};
  const std::vector<double> q{0.0, 1.0};
  const std::vector<double> k{0.0, std::log(3.0)};
  const std::vector<double> v{4.0, 8.0};
  std::vector<double> out(2);
  std::vector<double> lse(2);
  cpu::attention(AttentionParams<double>{.shape = {.q = {q.data(), 1, 1},
                                                   .k = {k.data(), 1, 1},
                                                   .num_queries = 2,
                                                   .num_heads = 1,
                                                   .num_groups = 1,
                                                   .head_dim = 1,
                                                   .num_sequences = 1,
                                                   .query_offset_B1 = offset.data(),
                                                   .key_span_B = &span},
                                         .v = {v.data(), 1, 1},
                                         .out = {out.data(), 1, 1},
                                         .lse_AT = lse.data()});
  EXPECT_DOUBLE_EQ(out[0], 4.0);
  EXPECT_DOUBLE_EQ(out[1], 7.0);
  EXPECT_DOUBLE_EQ(lse[0], 0.0);
  EXPECT_DOUBLE_EQ(lse[1], std::log(4.0));
}

}  // namespace
}  // namespace switchyard::kernels
