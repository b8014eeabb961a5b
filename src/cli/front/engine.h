// Handing over to switchyard-engine, which links LibTorch.
#pragma once

#include <string>

namespace switchyard::cli {

// The path of this executable. Throws StorageError.
[[nodiscard]] std::string this_program();

// Replaces this process by the `switchyard-engine` beside this executable, with the same arguments.
// Returns only by throwing: UsageError when there is no engine, StorageError when it cannot run,
// OutOfMemoryError when a limit on memory leaves no room for it.
[[noreturn]] void exec_engine(char* const* argv);

}  // namespace switchyard::cli
