# Language level, warnings and sanitizers of our own targets.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# -g1: backtraces with line numbers, at a fraction of full debug information's size.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")

# -fPIC everywhere, executables included: one set of flags, hence one precompiled header for all.
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fPIC>" "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-fPIC>")
# DT_RPATH rather than DT_RUNPATH: LibTorch's own dependencies are then found through ours.
add_link_options(-Wl,--disable-new-dtags)

add_library(switchyard_options INTERFACE)
target_compile_options(switchyard_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wconversion;-Wnon-virtual-dtor;-Woverloaded-virtual;-Wimplicit-fallthrough;-Wextra-semi>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>")
# clang does not vectorise a maximum of floats and warns where that was asked for; it is only slower.
target_compile_options(switchyard_options INTERFACE
  "$<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-pass-failed>")
if(SWITCHYARD_WERROR)
  target_compile_options(switchyard_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-Werror>" "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>")
endif()

if(SWITCHYARD_SANITIZE)
  # Unoptimised: half the compile time, and g++ 12 warns wrongly when it optimises sanitized code.
  set(CMAKE_CXX_FLAGS_DEBUG "-g1")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=address,undefined)
endif()

if(SWITCHYARD_FUZZ)
  # Coverage for libFuzzer; optimised, because executions per second are what fuzzing is about.
  set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
