// How the CPU kernels use wide vectors: hot loops are plain functions in a form the compiler
// vectorises, compiled once per instruction set and chosen when the program is loaded.
#pragma once

// Put in front of a free function that holds a hot loop. Lambdas do not inherit it: keep the loop
// in the function itself and call that from parallel_for. Empty under sanitizers, which cannot
// instrument the resolvers that run before they have started.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SWITCHYARD_SIMD_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SWITCHYARD_SIMD_CLONES
#endif
