// The frame of every page: head, style, script and footer around a body.
#pragma once

#include <string>
#include <string_view>

namespace switchyard::telemetry {

// A whole HTML document that needs no network. `title` is text, `body` is markup.
[[nodiscard]] std::string document(std::string_view title, std::string_view body);

// A heading and what is below it; empty without content.
[[nodiscard]] std::string section(std::string_view title, const std::string& content);

}  // namespace switchyard::telemetry
