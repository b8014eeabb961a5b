// Writing to whatever a descriptor leads to.
#pragma once

#include <string_view>

namespace switchyard {

// All of `bytes`, however long a pipe is full: 0, or the errno of what failed.
[[nodiscard]] int write_all(int descriptor, std::string_view bytes) noexcept;

}  // namespace switchyard
