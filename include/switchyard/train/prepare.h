// Data preparation as the command line reaches it: `cli` builds on `train` alone.
#pragma once

#include "switchyard/data/prepare.h"

namespace switchyard::train {

using data::prepare;
using data::PrepareOptions;
using data::PrepareReport;

}  // namespace switchyard::train
