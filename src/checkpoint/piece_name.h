// How a file names a part of a tensor that several ranks hold between them: "NAME[128:256/4096]" is
// elements 128 to 255 of the 4096 of the flattened tensor NAME. Its other parts are in the same or
// in other files of the set.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "switchyard/checkpoint/tensor_files.h"

namespace switchyard::checkpoint {

struct PieceName {
  std::string name;         // of the whole tensor
  ElementRange range = {};  // within `total`
  std::int64_t total = 0;
};

[[nodiscard]] std::string to_string(const PieceName& piece);
// None for a name that is not so written, which is then that of a whole tensor.
[[nodiscard]] std::optional<PieceName> parse_piece_name(std::string_view text);

}  // namespace switchyard::checkpoint
