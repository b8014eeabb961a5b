#include "switchyard/ops/one_thread.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

namespace switchyard::ops {
namespace {

// at::set_num_threads does all this, too, but for every thread of the program that has not asked
// for its number yet. Null where LibTorch came without OpenMP or MKL. (comm/beside.cpp, a layer
// below, does the half of this that sums need.)
struct Libraries {
  using Set = void (*)(int num_threads);
  using Exchange = int (*)(int num_threads);

  Set set_openmp = reinterpret_cast<Set>(::dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  // Documented interface of MKL, whose number LibTorch sets for each thread.
  Exchange set_mkl = reinterpret_cast<Exchange>(::dlsym(RTLD_DEFAULT, "MKL_Set_Num_Threads_Local"));
};

const Libraries& libraries() {
  static const Libraries found;
  return found;
}

}  // namespace

OneThread::OneThread(bool is_on) {
  if (!is_on || libraries().set_openmp == nullptr) return;
  // Asked first: LibTorch sets a thread up when it first asks.
  num_threads_ = at::get_num_threads();
  libraries().set_openmp(1);
  if (libraries().set_mkl != nullptr) num_product_threads_ = libraries().set_mkl(1);
}

OneThread::~OneThread() {
  if (num_threads_ == 0) return;
  if (libraries().set_mkl != nullptr) libraries().set_mkl(num_product_threads_);
  libraries().set_openmp(num_threads_);
}

}  // namespace switchyard::ops
