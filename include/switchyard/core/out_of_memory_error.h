#pragma once

#include "switchyard/core/error.h"

namespace switchyard {

// There was less memory than was needed (exit 71).
class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};

}  // namespace switchyard
