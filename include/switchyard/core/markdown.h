// Foreign text inside of Markdown.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace switchyard {

// `text` for a cell of a table, or for a line: printable, and no part of it ends the cell, is code
// or HTML.
[[nodiscard]] std::string markdown_cell(std::string_view text, std::size_t max_bytes = 120);

}  // namespace switchyard
