#include "switchyard/kernels/attention.h"

#include "kernels/attention_reference.h"
#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class AttentionOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(AttentionOnGpu, StorageTypes);

// The CPU's cases, and heads of whole packs, of several chunks and of several slices of dims.
std::vector<AttentionCase> parity_cases() {
  auto cases = attention_cases();
  for (const std::int64_t head_dim : {64, 100, 200}) {
    AttentionCase c{.name = "heads of " + std::to_string(head_dim),
                    .query_offset = {0, 30, 70},
                    .key_span = {{0, 30}, {30, 70}},
                    .num_key_rows = 70};
    c.head_dim = head_dim;
    cases.push_back(c);
  }
  return cases;
}

// One call's memory on one device: k and v lie in one array, [rows, G, {k, v}, D].
template <typename T, template <typename> typename Buffer>
struct Arrays {
  using Sum = accumulation_t<T>;
  Buffer<T> q, kv, dout, out, dq, dk, dv;
  Buffer<Sum> lse;
};
template <typename T>
struct HostBuffer : std::vector<T> {
  using std::vector<T>::vector;
  explicit HostBuffer(const std::vector<T>& values) : std::vector<T>(values) {}
  HostBuffer(std::int64_t count, T fill) : std::vector<T>(static_cast<std::size_t>(count), fill) {}
};

template <typename T, template <typename> typename Buffer>
Arrays<T, Buffer> arrays(const AttentionCase& c, const AttentionInputs<T>& inputs) {
  const std::int64_t query_size = c.num_queries() * c.num_heads * c.head_dim;
  const std::int64_t key_size = c.num_key_rows * c.num_groups * c.head_dim;
  std::vector<T> kv;
  for (std::int64_t begin = 0; begin < key_size; begin += c.head_dim) {
    for (const auto& rows : {inputs.k, inputs.v}) {
      kv.insert(kv.end(), rows.begin() + begin, rows.begin() + begin + c.head_dim);
    }
  }
  return {.q = Buffer<T>(inputs.q),
          .kv = Buffer<T>(kv),
          .dout = Buffer<T>(random_values<T>(query_size, 7)),
          .out = Buffer<T>(query_size, not_a_number<T>()),
          .dq = Buffer<T>(query_size, not_a_number<T>()),
          .dk = Buffer<T>(key_size, store<T>(5.0F)),  // rows outside all spans stay so
          .dv = Buffer<T>(key_size, store<T>(6.0F)),
          .lse = Buffer<accumulation_t<T>>(c.num_heads * c.num_queries(),
                                           not_a_number<accumulation_t<T>>())};
}

template <typename T, template <typename> typename Buffer>
AttentionParams<T> forward_params(const AttentionCase& c, const AttentionInputs<T>& inputs,
                                  const bool* key_valid, Arrays<T, Buffer>& memory) {
  AttentionParams<T> params{
      .shape = inputs.shape,
      .v = {memory.kv.data() + c.head_dim, 2 * c.num_groups * c.head_dim, 2 * c.head_dim},
      .out = {memory.out.data(), c.num_heads * c.head_dim, c.head_dim},
      .lse_AT = memory.lse.data()};
  params.shape.q.data = memory.q.data();
  params.shape.k = {memory.kv.data(), params.v.token_stride, params.v.head_stride};
  params.shape.key_valid = key_valid;
  return params;
}

template <typename T, template <typename> typename Buffer>
AttentionBackwardParams<T> backward_params(const AttentionCase& c,
                                           const AttentionParams<T>& forward,
                                           Arrays<T, Buffer>& memory) {
  const std::int64_t stride = c.num_heads * c.head_dim;
  const std::int64_t key_stride = c.num_groups * c.head_dim;
  return {.shape = forward.shape,
          .v = forward.v,
          .out = {memory.out.data(), stride, c.head_dim},
          .lse_AT = memory.lse.data(),
          .dout = {memory.dout.data(), stride, c.head_dim},
          .dq = {memory.dq.data(), stride, c.head_dim},
          .dk = {memory.dk.data(), key_stride, c.head_dim},
          .dv = {memory.dv.data(), key_stride, c.head_dim}};
}

TYPED_TEST(AttentionOnGpu, ForwardAndBackwardGiveWhatTheCpuGives) {
  using T = TypeParam;
  for (const AttentionCase& c : parity_cases()) {
    const AttentionReference reference(c);
    const AttentionInputs<T> inputs(c, reference);
    auto host = arrays<T, HostBuffer>(c, inputs);
    const auto on_cpu = forward_params(c, inputs, inputs.valid.get(), host);
    cpu::attention(on_cpu);
    cpu::attention_backward(backward_params(c, on_cpu, host));

    auto device = arrays<T, DeviceBuffer>(c, inputs);
    const DeviceBuffer<bool> valid(std::vector<char>(c.valid.begin(), c.valid.end()));
    const auto on_gpu = forward_params(c, inputs, c.valid.empty() ? nullptr : valid.data(), device);
    cuda::attention(on_gpu, test_stream());
    cuda::attention_backward(backward_params(c, on_gpu, device), test_stream());
    // Scores of the largest heads reach 30: what they lose to rounding, probabilities magnify.
    expect_close<T>(device.out.host(), host.out, c.name + " out", 4.0);
    expect_close<accumulation_t<T>>(device.lse.host(), host.lse, c.name + " lse");
    // Sums over keys, or over the queries of all heads.
    const double scale = 10.0;
    expect_close<T>(device.dq.host(), host.dq, c.name + " dq", scale);
    expect_close<T>(device.dk.host(), host.dk, c.name + " dk", scale);
    expect_close<T>(device.dv.host(), host.dv, c.name + " dv", scale);
  }
}

TYPED_TEST(AttentionOnGpu, GivesTheSameBitsEveryTime) {
  using T = TypeParam;
  AttentionCase c{.name = "repeated",
                  .query_offset = {0, 70, 150},
                  .key_span = {{0, 70}, {70, 150}},
                  .num_key_rows = 150,
                  .num_heads = 4,
                  .num_groups = 2};
  const AttentionReference reference(c);
  const AttentionInputs<T> inputs(c, reference);
  auto memory = arrays<T, DeviceBuffer>(c, inputs);
  const auto params = forward_params(c, inputs, nullptr, memory);
  std::vector<std::vector<T>> first;
  for (int repeat = 0; repeat < 2; ++repeat) {
    cuda::attention(params, test_stream());
    cuda::attention_backward(backward_params(c, params, memory), test_stream());
    const std::vector<std::vector<T>> results{memory.out.host(), memory.dq.host(), memory.dk.host(),
                                              memory.dv.host()};
    if (repeat == 0) first = results;
    for (std::size_t i = 0; i < results.size(); ++i) EXPECT_TRUE(same_bits(results[i], first[i]));
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
