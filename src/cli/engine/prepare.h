// `switchyard prepare`.
#pragma once

#include "switchyard/config/options.h"

namespace switchyard::cli {

// Prints a summary to standard output; returns the exit code. Errors are thrown.
int run_prepare(const config::ParsedArguments& arguments);

}  // namespace switchyard::cli
