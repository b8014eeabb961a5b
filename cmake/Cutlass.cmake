# SWITCHYARD_CUTLASS: the grouped products of kernels/cutlass. Off by default: at::_grouped_mm does
# the same work without another dependency and a minute of compiling.
option(SWITCHYARD_CUTLASS "CUTLASS products of the experts, for Hopper (tools/setup.sh --cutlass)" OFF)
set(SWITCHYARD_CUTLASS_INCLUDE "" CACHE PATH
    "The folder that holds cutlass/ and cute/ (empty: what tools/setup.sh --cutlass fetched)")
set(SWITCHYARD_CUTLASS_VERSION 4.2.0.0)

if(SWITCHYARD_CUTLASS)
  if(NOT SWITCHYARD_WITH_CUDA)
    message(FATAL_ERROR "SWITCHYARD_CUTLASS=ON needs CUDA kernels (SWITCHYARD_CUDA)")
  endif()
  set(cutlass_include "${SWITCHYARD_CUTLASS_INCLUDE}")
  if(NOT cutlass_include)
    set(cutlass_include "${SWITCHYARD_CACHE_FOLDER}/cutlass-${SWITCHYARD_CUTLASS_VERSION}/include")
  endif()
  if(NOT EXISTS "${cutlass_include}/cutlass/cutlass.h")
    message(FATAL_ERROR "CUTLASS was not found in ${cutlass_include}. Run tools/setup.sh --cutlass, "
                        "which fetches it, or set -DSWITCHYARD_CUTLASS_INCLUDE=FOLDER")
  endif()
  add_library(cutlass INTERFACE)
  target_include_directories(cutlass SYSTEM INTERFACE "${cutlass_include}")
endif()
