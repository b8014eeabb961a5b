# ccache and mold, when they are installed. Included before project().
#
# The sloppiness values let ccache hit on units that use a precompiled header. With base_dir and
# without hash_dir, build folders beside each other (build/release, a fresh clone) share results.
find_program(SWITCHYARD_CCACHE ccache)
if(SWITCHYARD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(launcher
      "${CMAKE_COMMAND}" -E env
      "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime"
      "CCACHE_BASEDIR=${CMAKE_CURRENT_SOURCE_DIR}"
      "CCACHE_NOHASHDIR=1"
      "${SWITCHYARD_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${launcher}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${launcher}")
endif()

find_program(SWITCHYARD_MOLD mold)
if(SWITCHYARD_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
