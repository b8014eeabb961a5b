// Counts the teams that OpenMP begins in this program: GOMP_parallel, by which compiled code begins
// one, is defined here in place of libgomp's, which it calls. A team inside a team counts, too.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>

#include "switchyard/core/parallel.h"
#include "switchyard/ops/backend.h"

namespace switchyard::testing {

inline std::atomic<std::int64_t> num_openmp_teams{0};

using GompParallel = void (*)(void (*function)(void*), void* data, unsigned num_threads,
                              unsigned flags);

inline GompParallel gomp_parallel_of_libgomp() {
  static const auto found = reinterpret_cast<GompParallel>(::dlsym(RTLD_NEXT, "GOMP_parallel"));
  return found;
}

inline std::int64_t teams_begun_by(const std::function<void()>& work) {
  const std::int64_t before = num_openmp_teams;
  work();
  return num_openmp_teams - before;
}

// LibTorch on two threads, which also serve core's parallel_for. Skips where teams do not begin by
// libgomp.
class OnTwoThreads : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(2);
    ops::install_parallel_backend();
    const at::Tensor matrix = at::ones({400, 400});
    at::Tensor product = at::mm(matrix, matrix);
    if (teams_begun_by([&] { at::mm_out(product, matrix, matrix); }) == 0) {
      GTEST_SKIP() << "LibTorch's products do not begin teams by libgomp";
    }
  }
  void TearDown() override {
    set_parallel_backend(nullptr);
    at::set_num_threads(num_threads_);
  }

 private:
  int num_threads_ = at::get_num_threads();
};

}  // namespace switchyard::testing

extern "C" __attribute__((used, visibility("default"))) inline void GOMP_parallel(
    void (*function)(void*), void* data, unsigned num_threads, unsigned flags) {
  ++switchyard::testing::num_openmp_teams;
  switchyard::testing::gomp_parallel_of_libgomp()(function, data, num_threads, flags);
}
