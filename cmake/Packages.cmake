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

# These ship no CMake files. With WITHOUT_IT the build goes on without the library, and the text
# says what is missing then.
function(switchyard_import_library target library header debian_package)
  cmake_parse_arguments(PARSE_ARGV 4 arg "" "WITHOUT_IT" "")
  find_library(SWITCHYARD_${target}_LIBRARY ${library})
  find_path(SWITCHYARD_${target}_INCLUDE ${header})
  mark_as_advanced(SWITCHYARD_${target}_LIBRARY SWITCHYARD_${target}_INCLUDE)
  if(NOT SWITCHYARD_${target}_LIBRARY OR NOT SWITCHYARD_${target}_INCLUDE)
    set(what_to_do "Run tools/setup.sh, or install ${debian_package}")
    if(arg_WITHOUT_IT)
      message(WARNING "${target} was not found: ${arg_WITHOUT_IT}. ${what_to_do}, and configure again")
      return()
    endif()
    message(FATAL_ERROR "${library} was not found. ${what_to_do}")
  endif()
  add_library(${target}::${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target}::${target} PROPERTIES
    IMPORTED_LOCATION "${SWITCHYARD_${target}_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${SWITCHYARD_${target}_INCLUDE}")
endfunction()

switchyard_import_library(xxhash xxhash xxhash.h libxxhash-dev)
switchyard_import_library(zlib z zlib.h zlib1g-dev WITHOUT_IT "prepare will refuse .gz files")
switchyard_import_library(zstd zstd zstd.h libzstd-dev WITHOUT_IT "prepare will refuse .zst files")
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
