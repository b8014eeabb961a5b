// How the CPU kernels use wide vectors: hot loops are plain functions in a form the compiler
// vectorises, compiled once per instruction set and chosen when the program is loaded.
//
// Loops that are written with vectors of a fixed size (cpu/tile_matmul.h) get theirs as a template
// argument, since a compiler that has no registers of that size keeps such vectors in memory, word
// by word: 64 bytes in a SWITCHYARD_SIMD_CLONES_512, for CPUs that have_512_bits(), kVectorBytes in
// a SWITCHYARD_SIMD_CLONES_256 for the others.
#pragma once

// Put in front of a free function that holds a hot loop. Lambdas do not inherit it: keep the loop
// in the function itself and call that from parallel_for. Empty under sanitizers, which cannot
// instrument the resolvers that run before they have started.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SWITCHYARD_SIMD_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define SWITCHYARD_SIMD_CLONES_256 __attribute__((target_clones("arch=x86-64-v3", "default")))
// Not target(): into a function of that nothing can be inlined that a build for another CPU
// (SWITCHYARD_CPU_ARCH) compiled with more than the level has. Clones are made after inlining.
#define SWITCHYARD_SIMD_CLONES_512 __attribute__((target_clones("arch=x86-64-v4", "default")))
#define SWITCHYARD_CPU_HAS_512_BITS (__builtin_cpu_supports("x86-64-v4") != 0)
#else
#define SWITCHYARD_SIMD_CLONES
#define SWITCHYARD_SIMD_CLONES_256
#define SWITCHYARD_SIMD_CLONES_512
#define SWITCHYARD_CPU_HAS_512_BITS false
#endif

namespace switchyard::kernels::cpu {

// What the CPUs that the build is for have at least.
#if defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

[[nodiscard]] inline bool have_512_bits() {
  return SWITCHYARD_CPU_HAS_512_BITS;
}

}  // namespace switchyard::kernels::cpu
