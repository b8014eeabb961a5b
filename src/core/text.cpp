#include "switchyard/core/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "switchyard/core/utf8.h"

namespace switchyard {
namespace {

// Case and the two word separators do not count as differences.
char folded(char c) {
  if (c == '-') return '_';
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
                           folded(a[i - 2]) == folded(b[j - 1]);
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

// The initials of its words, or beginnings of its first words.
bool abbreviates(std::string_view given, std::string_view whole) {
  if (given.size() < 2) return false;
  std::string name(given);
  std::transform(name.begin(), name.end(), name.begin(), &folded);
  const std::vector<std::string_view> words = split(whole, "_-");
  std::string initials;
  for (const std::string_view word : words) initials += word.substr(0, 1);
  if (words.size() > 1 && name == initials) return true;
  const std::vector<std::string_view> parts = split(name, "_-");
  if (parts.size() > words.size()) return false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].size() < 2 || !words[i].starts_with(parts[i])) return false;
  }
  return true;
}

// Bytes of the character that `text` begins with; 0 when its first byte cannot be shown: a control
// character (U+0080 to U+009F too, which drive terminals as well) or no UTF-8.
std::size_t shown_length(std::string_view text) {
  const std::size_t length = utf8_character_length(text);
  const auto first = static_cast<unsigned char>(text[0]);
  const bool is_control =
      length == 1 ? first < 0x20 || first == 0x7f
                  : length == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
  return is_control ? 0 : length;
}

bool is_printable(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = shown_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string escaped_byte(char byte) {
  return fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
}

// $'...'. Octal, because an escape in hexadecimal has no end in some shells.
std::string dollar_quoted(std::string_view text) {
  std::string quoted = "$'";
  while (!text.empty()) {
    const std::size_t length = shown_length(text);
    if (length == 0) {
      quoted += fmt::format("\\{:03o}", static_cast<unsigned char>(text[0]));
    } else {
      if (text[0] == '\'' || text[0] == '\\') quoted += '\\';
      quoted += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return quoted + "'";
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  constexpr std::size_t kLongestName = 100;  // nothing a person mistyped; keeps the cost bounded
  if (name.size() > kLongestName) return {};
  std::string nearest;
  std::size_t smallest = 0;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    const std::size_t allowed = std::max(name.size(), candidate.size()) / 3;
    if (distance <= allowed && (nearest.empty() || distance < smallest)) {
      nearest = candidate;
      smallest = distance;
    }
  }
  return nearest;
}

std::string abbreviated_name(std::string_view name, std::span<const std::string> candidates) {
  std::string found;
  for (const std::string& candidate : candidates) {
    if (!abbreviates(name, candidate) || candidate == found + "s") continue;
    // A list of what another names, such as learning_rates, is no second meaning.
    if (!found.empty() && found != candidate + "s") return {};
    found = candidate;
  }
  return found;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  std::size_t done = 0;
  while (done < text.size()) {
    const std::string_view rest = text.substr(done);
    const std::size_t length = shown_length(rest);
    if (done + std::max<std::size_t>(length, 1) > max_bytes) return out + "...";
    if (length == 0) {
      out += escaped_byte(rest[0]);
    } else {
      out += rest.substr(0, length);
    }
    done += std::max<std::size_t>(length, 1);
  }
  return out;
}

std::string printable_line(std::string_view text) {
  return printable(text, std::string_view::npos);
}

std::string shell_quoted(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(text);
  }
  if (!is_printable(text)) return dollar_quoted(text);
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string shell_path(std::string_view path) {
  return path.starts_with('-') ? shell_quoted(fmt::format("./{}", path)) : shell_quoted(path);
}

std::string plural(std::int64_t count, std::string_view noun) {
  return fmt::format("{}{}", noun, count == 1 ? "" : "s");
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}", count, plural(count, noun));
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find_first_of(separators, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) text += separator;
    text += parts[i];
  }
  return text;
}

}  // namespace switchyard
