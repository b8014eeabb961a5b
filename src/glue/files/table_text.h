// Files of rows as they come: compressed or not, and what is none of ours told by name.
#pragma once

#include <string>

namespace switchyard::glue {

// The text of `path`, which may be standard input (is_standard_input); `command` reads it
// where it comes from one
// ("switchyard predict ... --input -"). Throws StorageError, and DataError for what is no text or
// no UTF-8, with the command that makes UTF-8 of it.
[[nodiscard]] std::string read_table(const std::string& path,
                                     const std::string& command = "cat > FIXED");

// `text`, which will be a field of a table that this program writes. Throws DataError, beginning
// with `place`, for a tab, a line break or another control character; `what` it is.
[[nodiscard]] std::string checked_field(std::string text, const char* what,
                                        const std::string& place);

}  // namespace switchyard::glue
