#include "comm/nccl_library.h"

#include <dlfcn.h>

#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

constexpr const char* kFile = "libnccl.so.2";

template <typename Function>
void find(void* library, const char* name, Function& function) {
  void* const symbol = ::dlsym(library, name);
  if (symbol == nullptr) {
    throw UsageError(fmt::format("{} has no {}", kFile, name), "NCCL 2.18 or later is needed");
  }
  function = reinterpret_cast<Function>(symbol);
}

NcclLibrary load() {
  // LibTorch's CUDA library has loaded the one that it was made for.
  void* library = ::dlopen(kFile, RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) library = ::dlopen(kFile, RTLD_NOW);
  if (library == nullptr) {
    throw UsageError(
        fmt::format("ranks on GPUs talk over NCCL, which cannot be loaded: {}", ::dlerror()),
        "install NCCL 2.18 or later, or set LD_LIBRARY_PATH to where libnccl.so.2 is");
  }
  NcclLibrary found{};
#define SWITCHYARD_FIND(name) find(library, "nccl" #name, found.name)
  SWITCHYARD_FIND(GetUniqueId);
  SWITCHYARD_FIND(CommInitRank);
  SWITCHYARD_FIND(CommSplit);
  SWITCHYARD_FIND(CommDestroy);
  SWITCHYARD_FIND(CommAbort);
  SWITCHYARD_FIND(CommGetAsyncError);
  SWITCHYARD_FIND(GetErrorString);
  SWITCHYARD_FIND(GetLastError);
  SWITCHYARD_FIND(AllReduce);
  SWITCHYARD_FIND(ReduceScatter);
  SWITCHYARD_FIND(AllGather);
  SWITCHYARD_FIND(Broadcast);
  SWITCHYARD_FIND(Send);
  SWITCHYARD_FIND(Recv);
  SWITCHYARD_FIND(GroupStart);
  SWITCHYARD_FIND(GroupEnd);
#undef SWITCHYARD_FIND
  return found;
}

}  // namespace

const NcclLibrary& nccl_library() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace switchyard::comm
