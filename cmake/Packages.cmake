# System libraries (Debian packages, installed by tools/setup.sh).
function(switchyard_require package debian_package)
  find_package(${package} ${ARGN} QUIET GLOBAL)
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "${package} was not found. Run tools/setup.sh, or install ${debian_package}")
  endif()
endfunction()

switchyard_require(Threads libc6-dev)
switchyard_require(fmt libfmt-dev)
switchyard_require(spdlog libspdlog-dev)
switchyard_require(yaml-cpp libyaml-cpp-dev)
switchyard_require(nlohmann_json nlohmann-json3-dev)
if(SWITCHYARD_TESTING)
  switchyard_require(GTest libgmock-dev)
endif()
if(SWITCHYARD_BENCHMARKS)
  switchyard_require(benchmark libbenchmark-dev)
endif()

# These two ship no CMake files.
function(switchyard_import_library target library header debian_package)
  find_library(SWITCHYARD_${target}_LIBRARY ${library})
  find_path(SWITCHYARD_${target}_INCLUDE ${header})
  mark_as_advanced(SWITCHYARD_${target}_LIBRARY SWITCHYARD_${target}_INCLUDE)
  if(NOT SWITCHYARD_${target}_LIBRARY OR NOT SWITCHYARD_${target}_INCLUDE)
    message(FATAL_ERROR "${library} was not found. Run tools/setup.sh, or install ${debian_package}")
  endif()
  add_library(${target}::${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target}::${target} PROPERTIES
    IMPORTED_LOCATION "${SWITCHYARD_${target}_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${SWITCHYARD_${target}_INCLUDE}")
endfunction()

switchyard_import_library(xxhash xxhash xxhash.h libxxhash-dev)
if(SWITCHYARD_TORCH OR SWITCHYARD_FUZZ)
  switchyard_import_library(sentencepiece sentencepiece sentencepiece_processor.h libsentencepiece-dev)
endif()
if(SWITCHYARD_TORCH)
  switchyard_import_library(sentencepiece_train sentencepiece_train sentencepiece_trainer.h
                            libsentencepiece-dev)
endif()

# yaml-cpp 0.7's file defines a plain target name; give it a namespaced one, so that a typo is an
# error at configure time rather than -lyaml-cpp.
if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp INTERFACE IMPORTED GLOBAL)
  target_link_libraries(yaml-cpp::yaml-cpp INTERFACE yaml-cpp)
endif()
