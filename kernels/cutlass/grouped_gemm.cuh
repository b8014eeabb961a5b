// One CUTLASS kernel over groups whose sizes only the device knows: a small kernel writes each
// group's shape and addresses, and the host waits for nothing.
#pragma once

#include <cutlass/cutlass.h>
#include <cutlass/gemm/device/gemm_universal_adapter.h>
#include <cutlass/kernel_hardware_info.h>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/group_array_problem_shape.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cuda/launch.cuh"
#include "switchyard/kernels/grouped_gemm.h"

namespace switchyard::kernels::cuda {

using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;

// D[g] = A[g] B[g] (+ D[g] where it accumulates), A [m, k], B [k, n] and D [m, n] row-major.
// Which of m, n and k the rows of a group are, `Out` decides: fp32 sums are outer products, whose k
// they are; for bf16 they are m.
template <typename LayoutA, typename LayoutB, typename Out>
struct GroupedGemm {
  static constexpr bool kAccumulates = std::is_same_v<Out, float>;
  using In = cutlass::bfloat16_t;
  using Tile = cute::Shape<cute::_128, cute::_256, cute::_64>;
  using Cluster = cute::Shape<cute::_2, cute::_1, cute::_1>;  // two tiles share B
  static constexpr int kInAlignment = 16 / sizeof(In);
  static constexpr int kOutAlignment = 16 / sizeof(Out);
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float,
      std::conditional_t<kAccumulates, Out, void>, RowMajor*, kOutAlignment, Out, RowMajor*,
      kOutAlignment, cutlass::epilogue::PtrArrayTmaWarpSpecializedCooperative>::CollectiveOp;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, In, LayoutA*, kInAlignment, In, LayoutB*,
      kInAlignment, float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(
          sizeof(typename Epilogue::SharedStorage))>,
      cutlass::gemm::KernelPtrArrayTmaWarpSpecializedCooperative>::CollectiveOp;
  using Problem = cutlass::gemm::GroupProblemShape<cute::Shape<int, int, int>>;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<Problem, Mainloop, Epilogue>;
  using Device = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
  using StrideA = typename Kernel::InternalStrideA;
  using StrideB = typename Kernel::InternalStrideB;
  using StrideD = typename Kernel::InternalStrideD;

  // What the kernel reads of each group; device memory.
  struct Groups {
    typename Problem::UnderlyingProblemShape* shape;
    const In** a;
    const In** b;
    Out** d;
    StrideA* stride_a;
    StrideB* stride_b;
    StrideD* stride_d;
  };
  // The call as a whole. A's rows are those of all groups; where sums accumulate B's are too,
  // elsewhere D's.
  struct Call {
    std::int64_t num_groups;
    const std::int32_t* row_offset_G1;
    std::int64_t in_size;   // k, or m of outer products
    std::int64_t out_size;  // n
    const In* a;
    const In* b;
    Out* d;
  };
};

// Strides have one dynamic part, the distance of rows (or of columns, if those are contiguous).
template <typename Stride>
CUTLASS_HOST_DEVICE Stride stride_of(std::int64_t distance) {
  Stride stride{};
  if constexpr (cute::is_static<decltype(cute::get<0>(stride))>::value) {
    cute::get<1>(stride) = distance;
  } else {
    cute::get<0>(stride) = distance;
  }
  return stride;
}

template <typename Gemm>
__global__ void describe_groups(typename Gemm::Call call, typename Gemm::Groups groups) {
  for (std::int64_t g = threadIdx.x; g < call.num_groups; g += blockDim.x) {
    const std::int64_t begin = call.row_offset_G1[g];
    const auto num_rows = static_cast<int>(call.row_offset_G1[g + 1] - begin);
    const auto in_size = static_cast<int>(call.in_size);
    const auto out_size = static_cast<int>(call.out_size);
    const std::int64_t matrix = g * call.in_size * call.out_size;
    if constexpr (Gemm::kAccumulates) {
      // Without rows there are no tiles: the sum is not even read.
      groups.shape[g] = cute::make_shape(num_rows == 0 ? 0 : in_size, out_size, num_rows);
      groups.b[g] = call.b + begin * call.out_size;
      groups.d[g] = call.d + matrix;
    } else {
      groups.shape[g] = cute::make_shape(num_rows, out_size, in_size);
      groups.b[g] = call.b + matrix;
      groups.d[g] = call.d + begin * call.out_size;
    }
    groups.a[g] = call.a + begin * call.in_size;
    groups.stride_a[g] = stride_of<typename Gemm::StrideA>(call.in_size);
    // [k, n] with n contiguous has rows of n, a transposed one columns of k.
    constexpr bool kRowsOfN =
        cute::is_static<decltype(cute::get<0>(typename Gemm::StrideB{}))>::value;
    groups.stride_b[g] = stride_of<typename Gemm::StrideB>(kRowsOfN ? call.out_size : call.in_size);
    groups.stride_d[g] = stride_of<typename Gemm::StrideD>(call.out_size);
  }
}

inline void check_cutlass(cutlass::Status status, const char* call) {
  if (status != cutlass::Status::kSuccess) fail_call(call, cutlass::cutlassGetStatusString(status));
}

template <typename Gemm>
void run_grouped(const typename Gemm::Call& call, Stream stream) {
  using Device = typename Gemm::Device;
  using Shape = typename Gemm::Problem::UnderlyingProblemShape;
  if (call.num_groups == 0 || call.in_size == 0 || call.out_size == 0) return;
  const std::int64_t count = call.num_groups;
  cutlass::KernelHardwareInfo hardware;
  check_call(cudaGetDevice(&hardware.device_id), "cudaGetDevice");
  hardware.sm_count =
      cutlass::KernelHardwareInfo::query_device_multiprocessor_count(hardware.device_id);

  typename Gemm::Groups groups{};
  const auto arguments_of = [&] {
    typename Device::Arguments arguments{cutlass::gemm::GemmUniversalMode::kGrouped,
                                         {static_cast<int>(count), groups.shape, nullptr},
                                         {groups.a, groups.stride_a, groups.b, groups.stride_b},
                                         {{}, nullptr, nullptr, groups.d, groups.stride_d},
                                         hardware};
    arguments.epilogue.thread.alpha = 1.0F;
    if constexpr (Gemm::kAccumulates) {
      arguments.epilogue.thread.beta = 1.0F;
      arguments.epilogue.ptr_C = const_cast<const float**>(groups.d);
      arguments.epilogue.dC = groups.stride_d;
    }
    return arguments;
  };
  const std::size_t workspace_bytes = Device::get_workspace_size(arguments_of());
  Scratch scratch(Scratch::bytes_of<Shape>(count) + 3 * Scratch::bytes_of<void*>(count) +
                      Scratch::bytes_of<typename Gemm::StrideA>(count) +
                      Scratch::bytes_of<typename Gemm::StrideB>(count) +
                      Scratch::bytes_of<typename Gemm::StrideD>(count) +
                      Scratch::bytes_of<std::byte>(static_cast<std::int64_t>(workspace_bytes)),
                  stream);
  groups.shape = scratch.take<Shape>(count);
  groups.a = scratch.take<const typename Gemm::In*>(count);
  groups.b = scratch.take<const typename Gemm::In*>(count);
  groups.d = scratch.take<std::remove_pointer_t<decltype(groups.d)>>(count);
  groups.stride_a = scratch.take<typename Gemm::StrideA>(count);
  groups.stride_b = scratch.take<typename Gemm::StrideB>(count);
  groups.stride_d = scratch.take<typename Gemm::StrideD>(count);
  auto* workspace = scratch.take<std::byte>(static_cast<std::int64_t>(workspace_bytes));
  launch(describe_groups<Gemm>, 1, 128, 0, stream, call, groups);

  Device device;
  check_cutlass(device.initialize(arguments_of(), workspace, native(stream)),
                "CUTLASS: initialize");
  check_cutlass(device.run(native(stream)), "CUTLASS: run");
}

}  // namespace switchyard::kernels::cuda
