#include "switchyard/kernels/attention_importance.h"

#include "kernels/attention_reference.h"
#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class AttentionImportanceOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(AttentionImportanceOnGpu, StorageTypes);

TYPED_TEST(AttentionImportanceOnGpu, GivesWhatTheCpuGives) {
  using T = TypeParam;
  using Sum = accumulation_t<T>;
  for (const AttentionCase& c : attention_cases()) {
    const AttentionReference reference(c);
    const AttentionInputs<T> inputs(c, reference);
    const std::vector<Sum> lse(reference.lse.begin(), reference.lse.end());
    const DeviceBuffer<T> q(inputs.q);
    const DeviceBuffer<T> k(inputs.k);
    const DeviceBuffer<Sum> device_lse(lse);
    const DeviceBuffer<bool> valid(std::vector<char>(c.valid.begin(), c.valid.end()));
    for (const auto statistic : {AttentionStatistic::received, AttentionStatistic::received_peak,
                                 AttentionStatistic::peak, AttentionStatistic::entropy}) {
      const bool has_queries_of_all_keys = c.num_queries() == c.num_key_rows;
      const bool is_received = statistic == AttentionStatistic::received ||
                               statistic == AttentionStatistic::received_peak;
      if (is_received && (c.causal || !has_queries_of_all_keys)) {
        continue;  // not defined there
      }
      std::vector<Sum> expected(static_cast<std::size_t>(c.num_queries()), not_a_number<Sum>());
      AttentionImportanceParams<T> params{.shape = inputs.shape,
                                          .lse_AT = lse.data(),
                                          .statistic = statistic,
                                          .importance_T = expected.data()};
      cpu::attention_importance(params);

      const DeviceBuffer<Sum> importance(c.num_queries(), not_a_number<Sum>());
      params.shape.q.data = q.data();  // query_offset and key_span stay on the host
      params.shape.k.data = k.data();
      if (!c.valid.empty()) params.shape.key_valid = valid.data();
      params.lse_AT = device_lse.data();
      params.importance_T = importance.data();
      cuda::attention_importance(params, test_stream());
      const std::vector<Sum> first = importance.host();
      expect_close(first, expected, c.name);
      cuda::attention_importance(params, test_stream());
      EXPECT_TRUE(same_bits(importance.host(), first)) << c.name;
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
