# Decides SWITCHYARD_WITH_MPI from SWITCHYARD_MPI. MPI connects ranks on CPUs; GPUs use NCCL.
set(SWITCHYARD_MPI AUTO CACHE STRING "Ranks as MPI processes: AUTO (ON when MPI is found), ON or OFF")
set_property(CACHE SWITCHYARD_MPI PROPERTY STRINGS AUTO ON OFF)

set(SWITCHYARD_WITH_MPI OFF)
if(SWITCHYARD_MPI AND SWITCHYARD_TORCH)
  enable_language(C) # CMake looks for MPI's C interface only then
  find_package(MPI QUIET COMPONENTS C)
  if(MPI_C_FOUND)
    set(SWITCHYARD_WITH_MPI ON)
  elseif(NOT SWITCHYARD_MPI STREQUAL "AUTO")
    message(FATAL_ERROR "SWITCHYARD_MPI=ON, but no MPI was found. Run tools/setup.sh --mpi, or install "
                        "libopenmpi-dev and openmpi-bin")
  endif()
endif()
message(STATUS "MPI: ${SWITCHYARD_WITH_MPI}")
