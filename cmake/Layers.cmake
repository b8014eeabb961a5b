# One static library per layer of the ladder (design: tests/architecture/ladder.txt), one gtest
# binary per layer. Sources are globbed, so that adding a router or a test needs no edit here.

# The precompiled header of the torch layers: without it every small unit costs 8-12 s.
if(SWITCHYARD_TORCH)
  set(SWITCHYARD_TORCH_PCH
      <algorithm> <array> <cstdint> <functional> <memory> <optional> <span> <string> <string_view>
      <utility> <vector>
      <ATen/core/Tensor.h> <torch/csrc/autograd/custom_function.h>)
endif()

if(SWITCHYARD_BENCHMARKS)
  add_custom_target(benchmarks) # all of them
endif()

# switchyard_make_pch(name headers...): a library that only carries a precompiled header.
function(switchyard_make_pch name)
  set(source "${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp")
  if(NOT EXISTS "${source}")
    file(WRITE "${source}" "namespace { [[maybe_unused]] int ${name}_anchor; }\n")
  endif()
  add_library(${name} OBJECT "${source}")
  target_link_libraries(${name} PRIVATE switchyard_options switchyard_core LibTorch::torch)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/include")
  target_compile_options(${name} PRIVATE -fpch-preprocess)
  target_precompile_headers(${name} PRIVATE ${ARGN})
endfunction()

# switchyard_add_layer(<layer> [TORCH] DEPENDS targets... SOURCES files...)
# TORCH: uses the shared precompiled header and links LibTorch. A source x_benchmark.cpp beside the
# code it measures becomes the program x_benchmark when SWITCHYARD_BENCHMARKS is on.
function(switchyard_add_layer layer)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH" "" "DEPENDS;SOURCES")
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
      add_dependencies(benchmarks ${name})
    endforeach()
  endif()
  if(NOT arg_SOURCES) # nothing to compile yet: headers only
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${PROJECT_SOURCE_DIR}/include")
    target_link_libraries(${target} INTERFACE ${arg_DEPENDS})
    return()
  endif()
  add_library(${target} STATIC ${arg_SOURCES})
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}/include"
                                       PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE switchyard_options)
  if(arg_TORCH)
    target_link_libraries(${target} PUBLIC LibTorch::torch)
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

# switchyard_add_layer_test(<layer> [TORCH]): tests/<layer>/*_test.cpp -> <layer>_test.
# One ctest entry per binary: loading LibTorch once per test case would cost half a second each.
function(switchyard_add_layer_test layer)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH" "" "")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${layer}/*.cpp")
  list(FILTER sources EXCLUDE REGEX "/${layer}/cuda/") # tests/CMakeLists.txt
  if(NOT sources)
    return()
  endif()
  set(target ${layer}_test)
  add_executable(${target} ${sources})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests" "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${target} PRIVATE
    switchyard_options switchyard_${layer} GTest::gmock_main)
  target_compile_definitions(${target} PRIVATE
    SWITCHYARD_SOURCE_DIR="${PROJECT_SOURCE_DIR}" SWITCHYARD_BINARY_DIR="${PROJECT_BINARY_DIR}")
  if(arg_TORCH)
    target_compile_options(${target} PRIVATE -fpch-preprocess)
    target_precompile_headers(${target} REUSE_FROM switchyard_torch_pch)
  endif()
  switchyard_add_test(${layer} ${target})
endfunction()
