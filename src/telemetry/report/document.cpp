#include "telemetry/report/document.h"

#include <fmt/format.h>

#include "switchyard/core/version.h"
#include "telemetry/report/html.h"
#include "telemetry/report/page_style.h"

namespace switchyard::telemetry {

std::string document(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<title>{} - Switchyard</title><style>{}</style></head>\n<body><main>\n{}"
      "<footer>Written by Switchyard {}.</footer>\n</main><script>{}</script></body></html>\n",
      html::escape(title), kPageStyle, body, kVersion, kPageScript);
}

std::string section(std::string_view title, const std::string& content) {
  if (content.empty()) return {};
  return fmt::format("<h2>{}</h2>\n{}\n", html::escape(title), content);
}

}  // namespace switchyard::telemetry
