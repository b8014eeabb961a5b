# One static library per layer of the ladder (design: tests/architecture/ladder.txt), one gtest
# binary per layer. Sources are globbed, so that adding a router or a test needs no edit here.

# The precompiled headers of the torch layers and of tests: without them every small unit costs 8-12 s.
set(SWITCHYARD_STD_PCH
    <algorithm> <array> <cstdint> <functional> <memory> <optional> <span> <string> <string_view>
    <utility> <vector>)
set(SWITCHYARD_TORCH_PCH ${SWITCHYARD_STD_PCH}
    <ATen/core/Tensor.h> <torch/csrc/autograd/custom_function.h>)
# gmock.h includes gtest.h; files and streams are in nearly every test.
set(SWITCHYARD_TEST_PCH <filesystem> <fstream> <map> <sstream> <gmock/gmock.h>)

# What tests do themselves is little: compiling it takes longer than running it. (Not for the tests
# of kernels, whose references loop over elements.)
set(SWITCHYARD_TEST_OPTIMIZATION $<$<CONFIG:Release>:-O0>)

if(SWITCHYARD_BENCHMARKS)
  add_custom_target(benchmarks) # all of them
endif()

# switchyard_make_pch(name [TORCH] [TEST] HEADERS headers...): a library that only carries a
# precompiled header.
function(switchyard_make_pch name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH;TEST" "" "HEADERS")
  set(source "${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp")
  if(NOT EXISTS "${source}")
    file(WRITE "${source}" "namespace { [[maybe_unused]] int ${name}_anchor; }\n")
  endif()
  add_library(${name} OBJECT "${source}")
  target_link_libraries(${name} PRIVATE switchyard_options switchyard_core)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/include")
  target_compile_options(${name} PRIVATE -fpch-preprocess)
  if(arg_TORCH)
    target_link_libraries(${name} PRIVATE LibTorch::cpu)
  endif()
  if(arg_TEST)
    target_link_libraries(${name} PRIVATE GTest::gmock)
    target_compile_options(${name} PRIVATE ${SWITCHYARD_TEST_OPTIMIZATION})
  endif()
  target_precompile_headers(${name} PRIVATE ${arg_HEADERS})
endfunction()

# switchyard_speed_up_test(<target> [TORCH]): compiles a test with the precompiled header of tests.
# Not in the sanitizer build, whose compile commands clang-tidy reads.
function(switchyard_speed_up_test target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH" "" "")
  if(SWITCHYARD_SANITIZE)
    return()
  endif()
  set(pch switchyard_test_pch)
  if(arg_TORCH)
    set(pch switchyard_torch_test_pch)
  endif()
  target_compile_options(${target} PRIVATE -fpch-preprocess ${SWITCHYARD_TEST_OPTIMIZATION})
  target_precompile_headers(${target} REUSE_FROM ${pch})
endfunction()

# switchyard_add_layer(<layer> [TORCH] [OBJECT] DEPENDS targets... SOURCES files...)
# TORCH: uses the shared precompiled header and links LibTorch::cpu; what needs a GPU's operators,
# which LibTorch registers when it is loaded, is a program's to link (LibTorch::torch). OBJECT:
# all of it is linked, asked for or not. A source x_benchmark.cpp beside the code it measures becomes
# the program x_benchmark when SWITCHYARD_BENCHMARKS is on.
function(switchyard_add_layer layer)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH;OBJECT" "" "DEPENDS;SOURCES")
  set(target switchyard_${layer})
  set(benchmarks ${arg_SOURCES})
  list(FILTER benchmarks INCLUDE REGEX "_benchmark\\.cpp$")
  list(FILTER arg_SOURCES EXCLUDE REGEX "_benchmark\\.cpp$")
  if(SWITCHYARD_BENCHMARKS)
    foreach(source IN LISTS benchmarks)
      get_filename_component(name "${source}" NAME_WE)
      add_executable(${name} "${source}")
      target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src")
      target_link_libraries(${name} PRIVATE switchyard_options ${target} benchmark::benchmark)
      if(arg_TORCH)
        target_link_libraries(${name} PRIVATE LibTorch::torch) # --device=cuda
      endif()
      add_dependencies(benchmarks ${name})
    endforeach()
  endif()
  if(NOT arg_SOURCES) # nothing to compile yet: headers only
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${PROJECT_SOURCE_DIR}/include")
    target_link_libraries(${target} INTERFACE ${arg_DEPENDS})
    return()
  endif()
  set(kind STATIC)
  if(arg_OBJECT)
    set(kind OBJECT)
  endif()
  add_library(${target} ${kind} ${arg_SOURCES})
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}/include"
                                       PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE switchyard_options)
  if(arg_TORCH)
    target_link_libraries(${target} PUBLIC LibTorch::cpu)
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>")
    target_precompile_headers(${target} REUSE_FROM switchyard_torch_pch)
  endif()
endfunction()

# switchyard_add_test(<name> <target>): a gtest binary as one ctest entry; its results, test case by
# test case, go to test_results/<name>.json, where tools/common.sh counts them.
function(switchyard_add_test name target)
  add_test(NAME ${name} COMMAND ${target}
           "--gtest_output=json:${PROJECT_BINARY_DIR}/test_results/${name}.json")
  # PASSIVE: spinning OpenMP threads slow each other down on a busy machine.
  set_tests_properties(${name} PROPERTIES TIMEOUT 900 ENVIRONMENT "OMP_WAIT_POLICY=PASSIVE")
endfunction()

# switchyard_tell_folders(sources...): the macros SWITCHYARD_SOURCE_DIR and SWITCHYARD_BINARY_DIR for
# those sources that name them (configure again when one begins to). The others are compiled alike in
# every clone, so that clones share ccache's results.
function(switchyard_tell_folders)
  foreach(source IN LISTS ARGN)
    file(STRINGS "${source}" uses REGEX "SWITCHYARD_(SOURCE|BINARY)_DIR" LIMIT_COUNT 1)
    if(uses)
      set_source_files_properties("${source}" PROPERTIES COMPILE_DEFINITIONS
        "SWITCHYARD_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\";SWITCHYARD_BINARY_DIR=\"${PROJECT_BINARY_DIR}\"")
    endif()
  endforeach()
endfunction()

# switchyard_add_layer_test(<layer> [TORCH]): tests/<layer>/*_test.cpp -> <layer>_test.
# One ctest entry per binary: loading LibTorch once per test case would cost half a second each.
function(switchyard_add_layer_test layer)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH" "" "")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${layer}/*.cpp")
  list(FILTER sources EXCLUDE REGEX "/${layer}/(cuda|mpi|simulated_device)/") # tests/CMakeLists.txt
  if(NOT sources)
    return()
  endif()
  set(target ${layer}_test)
  add_executable(${target} ${sources})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests" "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${target} PRIVATE
    switchyard_options switchyard_${layer} GTest::gmock_main)
  switchyard_tell_folders(${sources})
  if(arg_TORCH)
    switchyard_speed_up_test(${target} TORCH)
  elseif(NOT layer STREQUAL "kernels")
    switchyard_speed_up_test(${target})
  endif()
  switchyard_add_test(${layer} ${target})
endfunction()
