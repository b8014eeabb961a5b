// What every page carries: its style sheet, and the script that shows values under the pointer.
#pragma once

namespace switchyard::telemetry {

extern const char* const kPageStyle;
extern const char* const kPageScript;

}  // namespace switchyard::telemetry
