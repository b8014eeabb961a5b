// core/utf8.h under the name by which readers of bytes know it.
#pragma once

#include "switchyard/core/utf8.h"

namespace switchyard::format {

using switchyard::first_invalid_utf8;
using switchyard::floor_character_boundary;
using switchyard::utf8_character_length;

}  // namespace switchyard::format
