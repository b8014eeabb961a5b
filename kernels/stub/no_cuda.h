// What every stub does: say which kernel is missing and how to get it.
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "switchyard/core/error.h"

namespace switchyard::kernels {

[[noreturn]] inline void throw_no_cuda(std::string_view op) {
  throw UsageError(fmt::format("{} cannot run on a GPU: built without CUDA", op),
                   "configure with -DSWITCHYARD_CUDA=ON, or train on the CPU");
}

}  // namespace switchyard::kernels
