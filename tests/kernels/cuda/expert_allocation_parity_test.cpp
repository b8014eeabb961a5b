#include "switchyard/kernels/expert_allocation.h"

#include <memory>

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class ExpertAllocationOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(ExpertAllocationOnGpu, LogitTypes);

template <typename T>
void expect_parity(const std::vector<T>& importance, const std::vector<char>& valid_T,
                   const std::vector<std::int32_t>& sequence_offset_B1, double k_mean,
                   AllocationRule rule) {
  const std::unique_ptr<bool[]> valid(new bool[valid_T.size() + 1]);
  std::copy(valid_T.begin(), valid_T.end(), valid.get());
  std::vector<std::int32_t> expected(importance.size(), -7);
  ExpertAllocationParams<T> params{.num_tokens = std::ssize(importance),
                                   .num_sequences = std::ssize(sequence_offset_B1) - 1,
                                   .importance_T = importance.data(),
                                   .valid_T = valid_T.empty() ? nullptr : valid.get(),
                                   .sequence_offset_B1 = sequence_offset_B1.data(),
                                   .k_mean = k_mean,
                                   .k_min = 1,
                                   .k_max = 5,
                                   .rule = rule,
                                   .k_T = expected.data()};
  cpu::expert_allocation(params);

  const DeviceBuffer<T> device_importance(importance);
  const DeviceBuffer<bool> device_valid(valid_T);
  const DeviceBuffer<std::int32_t> sequence_offset(sequence_offset_B1);
  const DeviceBuffer<std::int32_t> k_T(std::ssize(importance), -7);
  params.importance_T = device_importance.data();
  if (!valid_T.empty()) params.valid_T = device_valid.data();
  params.sequence_offset_B1 = sequence_offset.data();
  params.k_T = k_T.data();
  cuda::expert_allocation(params, test_stream());
  EXPECT_EQ(k_T.host(), expected) << "k_mean " << k_mean << " rule " << static_cast<int>(rule);
}

TYPED_TEST(ExpertAllocationOnGpu, GivesEveryTokenWhatTheCpuGivesIt) {
  using T = TypeParam;
  constexpr T kInf = std::numeric_limits<T>::infinity();
  const std::vector<std::int32_t> offsets{0, 40, 40, 41, 500};
  std::vector<T> importance = random_values<T>(500, 3);
  for (T& value : importance) value = std::abs(value);
  std::vector<T> ties(importance);
  for (T& value : ties) value = std::round(2 * value) / 2;
  std::vector<T> above_budget(ties);  // some counts have to go, of equal ones the later
  for (T& value : above_budget) value *= 2;
  std::vector<T> extreme(importance);
  for (std::size_t i = 0; i < extreme.size(); i += 3) {
    const std::vector<T> values{kInf, std::numeric_limits<T>::quiet_NaN(), -kInf, T{-4},
                                std::numeric_limits<T>::max()};
    extreme[i] = values[i % values.size()];
  }
  std::vector<char> valid(500, 1);
  for (std::size_t i = 0; i < valid.size(); i += 4) valid[i] = 0;
  for (const AllocationRule rule :
       {AllocationRule::proportional, AllocationRule::budget, AllocationRule::ceiling}) {
    for (const double k_mean : {1.0, 1.7, 4.5, 5.0}) {
      for (const auto& values : {importance, ties, above_budget, extreme}) {
        expect_parity(values, {}, offsets, k_mean, rule);
        expect_parity(values, valid, offsets, k_mean, rule);
      }
    }
    expect_parity<T>({}, {}, {0}, 2.0, rule);
    expect_parity<T>({}, {}, {0, 0}, 2.0, rule);
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
