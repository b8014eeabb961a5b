// Is a page well-formed? Enough of a parser to say where tags do not match.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::telemetry {

// Empty when every element that is opened is closed in its order, else what is wrong.
inline std::string markup_problem(std::string_view page) {
  static const std::set<std::string, std::less<>> kVoid = {"meta", "br", "link", "!DOCTYPE"};
  std::vector<std::string> open;
  std::size_t at = 0;
  while ((at = page.find('<', at)) != std::string_view::npos) {
    const std::size_t end = page.find('>', at);
    if (end == std::string_view::npos) return "a tag has no end";
    const std::string_view tag = page.substr(at + 1, end - at - 1);
    at = end + 1;
    const bool closes = tag.starts_with('/');
    const std::size_t first = closes ? 1 : 0;
    const std::string name(tag.substr(first, tag.find_first_of(" />\n", first) - first));
    if (closes) {
      if (open.empty() || open.back() != name) {
        return "</" + name + "> closes " + (open.empty() ? "nothing" : "<" + open.back() + ">");
      }
      open.pop_back();
    } else if (!tag.ends_with('/') && !kVoid.contains(name)) {
      open.push_back(name);
      if (name == "style" || name == "script") {  // no markup inside
        at = page.find("</" + name + ">", at);
        if (at == std::string_view::npos) return "<" + name + "> is not closed";
      }
    }
  }
  return open.empty() ? std::string() : "<" + open.back() + "> is not closed";
}

}  // namespace switchyard::telemetry
