// Errors of the engine, LibTorch's among them, in words for people.
#pragma once

#include <exception>

namespace switchyard::cli {

// core's report_error, for whatever is thrown here. Returns the exit code.
int report_any_error(const std::exception& error, bool debug);

}  // namespace switchyard::cli
