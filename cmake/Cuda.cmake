# Decides SWITCHYARD_WITH_CUDA from SWITCHYARD_CUDA and enables the CUDA language.
# Also finds the toolkit's library folder: a toolkit machine takes NVIDIA's runtime libraries from
# there, with or without CUDA kernels, because libtorch_cpu.so itself needs cudart and cupti.
find_program(SWITCHYARD_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
mark_as_advanced(SWITCHYARD_NVCC)

set(nvcc_is_usable OFF)
set(SWITCHYARD_CUDA_LIBRARY_DIR "")
if(SWITCHYARD_NVCC)
  execute_process(COMMAND "${SWITCHYARD_NVCC}" --version OUTPUT_VARIABLE nvcc_version ERROR_QUIET)
  if(nvcc_version MATCHES "release 13\\.") # LibTorch's wheel is built for CUDA 13
    set(nvcc_is_usable ON)
    get_filename_component(toolkit "${SWITCHYARD_NVCC}" DIRECTORY)
    get_filename_component(toolkit "${toolkit}" DIRECTORY)
    foreach(folder IN ITEMS lib64 lib)
      if(NOT SWITCHYARD_CUDA_LIBRARY_DIR AND EXISTS "${toolkit}/${folder}/libcudart.so.13")
        set(SWITCHYARD_CUDA_LIBRARY_DIR "${toolkit}/${folder}")
      endif()
    endforeach()
  endif()
endif()

set(SWITCHYARD_WITH_CUDA OFF)
if(SWITCHYARD_CUDA STREQUAL "AUTO")
  if(nvcc_is_usable AND SWITCHYARD_TORCH)
    set(SWITCHYARD_WITH_CUDA ON)
  endif()
elseif(SWITCHYARD_CUDA)
  if(NOT nvcc_is_usable)
    message(FATAL_ERROR "SWITCHYARD_CUDA=ON, but no nvcc of CUDA 13 was found (got: "
                        "${SWITCHYARD_NVCC}). Put it on PATH, set CUDA_HOME, or configure with "
                        "-DSWITCHYARD_CUDA=OFF")
  endif()
  set(SWITCHYARD_WITH_CUDA ON)
endif()

if(SWITCHYARD_WITH_CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER "${SWITCHYARD_NVCC}")
  endif()
  set(CMAKE_CUDA_ARCHITECTURES "${SWITCHYARD_CUDA_ARCHITECTURES}")
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared) # one runtime in the process: LibTorch's
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know that nvcc speaks C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
endif()
message(STATUS "CUDA kernels: ${SWITCHYARD_WITH_CUDA}")
