// Text of any length between ranks: for what is said once in a while, such as a path or an error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

// Every rank's, in the order of ranks. A collective.
[[nodiscard]] std::vector<std::string> all_gather_text(Communicator& ranks, std::string_view own,
                                                       std::string_view name);
// Rank 0's. A collective.
[[nodiscard]] std::string text_of_first(Communicator& ranks, std::string_view own,
                                        std::string_view name);

}  // namespace switchyard::comm
