#include "cli/engine/expert_view.h"

#include <fmt/format.h>

#include <array>

namespace switchyard::cli {
namespace {

// Backgrounds of the 256-colour palette from cool to hot, with a text colour that reads on them.
struct Level {
  double below;  // experts per token
  const char* label;
  const char* colour;
};
constexpr std::array kLevels = {
    Level{1.25, "1", "\033[48;5;17;38;5;255m"}, Level{1.75, "1.5", "\033[48;5;24;38;5;255m"},
    Level{2.25, "2", "\033[48;5;29;38;5;255m"}, Level{3.25, "3", "\033[48;5;178;38;5;16m"},
    Level{4.25, "4", "\033[48;5;208;38;5;16m"}, Level{1e300, "5+", "\033[48;5;196;38;5;16m"},
};
constexpr const char* kOff = "\033[0m";

const Level& level_of(double experts) {
  for (const Level& level : kLevels) {
    if (experts < level.below) return level;
  }
  return kLevels.back();
}

}  // namespace

ExpertView::ExpertView(const data::Tokenizer& tokenizer, bool coloured)
    : tokenizer_(tokenizer), coloured_(coloured) {}

std::string ExpertView::show(const inference::GeneratedToken& token) {
  Mean& mean = token.is_prompt ? prompt_ : generated_;
  mean.sum += token.experts;
  ++mean.num;
  if (!coloured_) return fmt::format("{}({:.3g}) ", tokenizer_.piece(token.id), token.experts);
  const std::string text = stream_.push(token.bytes);
  if (text.empty()) return {};
  // A background that crosses a line end would fill the rest of the line.
  std::string shown = level_of(token.experts).colour;
  for (const char byte : text) {
    if (byte == '\n') {
      shown += fmt::format("{}\n{}", kOff, level_of(token.experts).colour);
    } else {
      shown += byte;
    }
  }
  return shown + kOff;
}

std::string ExpertView::finish() {
  std::string text = coloured_ ? stream_.finish() + "\n\nexperts per token:" : "\n";
  if (coloured_) {
    for (const Level& level : kLevels) {
      text += fmt::format(" {} {} {}", level.colour, level.label, kOff);
    }
    text += "\n";
  } else {
    text += "\ntoken(k): k = experts that the token got, mean over the MoE layers\n";
  }
  return text + fmt::format("mean: {} over the prompt, {} over the new tokens\n", prompt_.text(),
                            generated_.text());
}

std::string ExpertView::Mean::text() const {
  return num == 0 ? "-" : fmt::format("{:.2f}", sum / static_cast<double>(num));
}

}  // namespace switchyard::cli
