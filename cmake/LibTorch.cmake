# LibTorch as hand-made imported targets. find_package(Torch) is not used: it pulls in the obsolete
# FindCUDA, ignores CMAKE_CUDA_ARCHITECTURES and wants every NVIDIA library at configure time.
#
#   LibTorch::cpu    headers, c10, torch_cpu: what layers link
#   LibTorch::torch  the above and, with CUDA, c10_cuda and torch_cuda (which registers its
#                    kernels when it is loaded, hence --no-as-needed): what programs link that
#                    run on GPUs
set(SWITCHYARD_LIBTORCH_VERSION 2.11.0)

if(NOT SWITCHYARD_LIBTORCH)
  set(flavours cuda13 cpu)
  if(SWITCHYARD_WITH_CUDA)
    set(flavours cuda13)
  endif()
  foreach(flavour IN LISTS flavours)
    set(candidate "${SWITCHYARD_CACHE_FOLDER}/libtorch-${SWITCHYARD_LIBTORCH_VERSION}-${flavour}")
    if(EXISTS "${candidate}/torch/lib/libtorch_cpu.so")
      set(SWITCHYARD_LIBTORCH_ROOT "${candidate}")
      break()
    endif()
  endforeach()
  if(NOT SWITCHYARD_LIBTORCH_ROOT)
    message(FATAL_ERROR "LibTorch ${SWITCHYARD_LIBTORCH_VERSION} was not found in "
                        "${SWITCHYARD_CACHE_FOLDER}. "
                        "Run tools/setup.sh, which fetches it, or set -DSWITCHYARD_LIBTORCH=FOLDER "
                        "(the folder that holds torch/)")
  endif()
else()
  set(SWITCHYARD_LIBTORCH_ROOT "${SWITCHYARD_LIBTORCH}")
  if(NOT EXISTS "${SWITCHYARD_LIBTORCH_ROOT}/torch/lib/libtorch_cpu.so")
    message(FATAL_ERROR "SWITCHYARD_LIBTORCH=${SWITCHYARD_LIBTORCH} holds no torch/lib/libtorch_cpu.so")
  endif()
endif()
message(STATUS "LibTorch: ${SWITCHYARD_LIBTORCH_ROOT}")

function(switchyard_import_torch name)
  add_library(LibTorch::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(LibTorch::${name} PROPERTIES
    IMPORTED_LOCATION "${SWITCHYARD_LIBTORCH_ROOT}/torch/lib/lib${name}.so")
endfunction()

switchyard_import_torch(c10)
switchyard_import_torch(torch_cpu)
add_library(LibTorch::cpu INTERFACE IMPORTED GLOBAL)
# LibTorch's include folder carries headers of another fmt, without its library. A folder in front of
# it that holds only the system's fmt keeps one version in the program.
find_path(SWITCHYARD_FMT_INCLUDE_DIR fmt/format.h REQUIRED)
file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/include_first")
file(CREATE_LINK "${SWITCHYARD_FMT_INCLUDE_DIR}/fmt" "${PROJECT_BINARY_DIR}/include_first/fmt" SYMBOLIC)
target_include_directories(LibTorch::cpu SYSTEM INTERFACE
  "${PROJECT_BINARY_DIR}/include_first"
  "${SWITCHYARD_LIBTORCH_ROOT}/torch/include"
  "${SWITCHYARD_LIBTORCH_ROOT}/torch/include/torch/csrc/api/include")
target_link_libraries(LibTorch::cpu INTERFACE LibTorch::torch_cpu LibTorch::c10)
# LibTorch's own needs (cudart, cuDNN, ...) are resolved when it is loaded, not when we link.
target_link_options(LibTorch::cpu INTERFACE -Wl,--allow-shlib-undefined)
if(SWITCHYARD_CUDA_LIBRARY_DIR)
  target_link_options(LibTorch::cpu INTERFACE "-Wl,-rpath,${SWITCHYARD_CUDA_LIBRARY_DIR}")
endif()

add_library(LibTorch::torch INTERFACE IMPORTED GLOBAL)
target_link_libraries(LibTorch::torch INTERFACE LibTorch::cpu)
if(SWITCHYARD_WITH_CUDA)
  switchyard_import_torch(c10_cuda)
  switchyard_import_torch(torch_cuda)
  set(cuda_library "${SWITCHYARD_LIBTORCH_ROOT}/torch/lib/libtorch_cuda.so")
  target_link_libraries(LibTorch::torch INTERFACE LibTorch::c10_cuda)
  target_link_options(LibTorch::torch INTERFACE
    "-Wl,--push-state,--no-as-needed,${cuda_library},--pop-state")
endif()
