// What a layout of ranks makes of the same steps as one rank alone, and whether that is rounding.
#pragma once

#include "switchyard/verify/layouts.h"
#include "verify/trace.h"

namespace switchyard::verify {

// Both traces are of the same config and number of steps.
[[nodiscard]] LayoutResult compare(const Layout& layout, const Trace& alone, const Trace& trace,
                                   const Tolerances& tolerances);

}  // namespace switchyard::verify
