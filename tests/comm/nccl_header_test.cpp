// What src/comm/nccl_library.h declares of NCCL is what NCCL's own header declares, where there is
// one.
#include <gtest/gtest.h>

#if __has_include(<nccl.h>) && __has_include(<cuda_runtime.h>)
#include <nccl.h>

#include <type_traits>

#include "comm/nccl_library.h"

namespace switchyard::comm {
namespace {

static_assert(sizeof(NcclUniqueId) == sizeof(ncclUniqueId));
static_assert(sizeof(NcclResult) == sizeof(ncclResult_t));
static_assert(sizeof(NcclType) == sizeof(ncclDataType_t));
static_assert(sizeof(NcclSum) == sizeof(ncclRedOp_t));

template <typename Enum>
constexpr int number(Enum value) {
  return static_cast<int>(value);
}
static_assert(number(NcclResult::success) == number(ncclSuccess));
static_assert(number(NcclResult::unhandled_cuda_error) == number(ncclUnhandledCudaError));
static_assert(number(NcclResult::system_error) == number(ncclSystemError));
static_assert(number(NcclResult::internal_error) == number(ncclInternalError));
static_assert(number(NcclResult::invalid_argument) == number(ncclInvalidArgument));
static_assert(number(NcclResult::invalid_usage) == number(ncclInvalidUsage));
static_assert(number(NcclResult::remote_error) == number(ncclRemoteError));
static_assert(number(NcclResult::in_progress) == number(ncclInProgress));
static_assert(number(NcclType::int8) == number(ncclInt8));
static_assert(number(NcclType::uint8) == number(ncclUint8));
static_assert(number(NcclType::int32) == number(ncclInt32));
static_assert(number(NcclType::int64) == number(ncclInt64));
static_assert(number(NcclType::float32) == number(ncclFloat32));
static_assert(number(NcclType::float64) == number(ncclFloat64));
static_assert(number(NcclType::bfloat16) == number(ncclBfloat16));
static_assert(number(NcclSum::sum) == number(ncclSum));

// Names for names: as many parameters, each passed alike.
template <typename Ours, typename Theirs>
struct Passed {
  static constexpr bool value = sizeof(Ours) == sizeof(Theirs) &&
                                std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> &&
                                std::is_class_v<Ours> == std::is_class_v<Theirs>;
};
template <typename Ours, typename Theirs>
struct Alike : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
requires(sizeof...(A) == sizeof...(B)) struct Alike<R (*)(A...), S (*)(B...)>
    : std::bool_constant<Passed<R, S>::value && (Passed<A, B>::value && ...)> {
};

#define SWITCHYARD_ALIKE(name) \
  static_assert(Alike<decltype(NcclLibrary::name), decltype(&nccl##name)>::value)
SWITCHYARD_ALIKE(GetUniqueId);
SWITCHYARD_ALIKE(CommInitRank);
SWITCHYARD_ALIKE(CommSplit);
SWITCHYARD_ALIKE(CommDestroy);
SWITCHYARD_ALIKE(CommAbort);
SWITCHYARD_ALIKE(CommGetAsyncError);
SWITCHYARD_ALIKE(GetErrorString);
SWITCHYARD_ALIKE(GetLastError);
SWITCHYARD_ALIKE(AllReduce);
SWITCHYARD_ALIKE(ReduceScatter);
SWITCHYARD_ALIKE(AllGather);
SWITCHYARD_ALIKE(Broadcast);
SWITCHYARD_ALIKE(Send);
SWITCHYARD_ALIKE(Recv);
SWITCHYARD_ALIKE(GroupStart);
SWITCHYARD_ALIKE(GroupEnd);
#undef SWITCHYARD_ALIKE

TEST(NcclHeader, DeclaresWhatIsUsed) {
  EXPECT_GE(NCCL_VERSION_CODE, NCCL_VERSION(2, 18, 0));
}

}  // namespace
}  // namespace switchyard::comm
#else
TEST(NcclHeader, DeclaresWhatIsUsed) {
  GTEST_SKIP() << "there is no nccl.h, or no CUDA Toolkit, to compare with";
}
#endif
