#include "switchyard/data/masking.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/philox.h"

namespace switchyard::data {
namespace {

constexpr std::uint64_t kStream = 0x6D61736B696E6755;  // other numbers than dropout's of the seed

// Tokens that are guessed together.
struct Unit {
  std::uint32_t order = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
};

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

PhiloxCounter random_words(const MaskingOptions& options, std::int64_t sample, std::size_t place) {
  const auto number = static_cast<std::uint64_t>(sample);
  return philox(philox_key(options.seed ^ kStream),
                {static_cast<std::uint32_t>(place), static_cast<std::uint32_t>(number),
                 static_cast<std::uint32_t>(number >> 32), 0});
}

}  // namespace

std::vector<bool> word_starts(std::span<const std::int32_t> tokens, const Tokenizer& tokenizer) {
  std::vector<bool> starts(tokens.size());
  bool after_space = true;
  std::optional<std::int32_t> previous;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= tokenizer.vocab_size()) {  // special
      starts[i] = true;
      after_space = true;
      previous.reset();
      continue;
    }
    const std::string_view bytes = tokenizer.bytes_of(tokens[i], previous);
    starts[i] = after_space || bytes.empty() || is_space(bytes.front());
    after_space = bytes.empty() || is_space(bytes.back());
    previous = tokens[i];
  }
  return starts;
}

bool begins_with_space(std::int32_t token, const Tokenizer& tokenizer) {
  if (token >= tokenizer.vocab_size()) return false;  // special
  // Behind another token: where a text begins, no space is needed.
  const std::string_view bytes = tokenizer.bytes_of(token, token);
  return !bytes.empty() && is_space(bytes.front());
}

MaskedTokens mask_tokens(std::span<const std::int32_t> tokens, const std::vector<bool>& word_start,
                         const SpecialTokens& special, std::optional<std::int32_t> separator,
                         const MaskingOptions& options, std::int64_t sample) {
  SWITCHYARD_CHECK(!options.whole_words || word_start.size() == tokens.size(),
                   "{} word starts for {} tokens", word_start.size(), tokens.size());
  std::vector<Unit> units;
  std::size_t num_candidates = 0;
  bool goes_on = false;  // was the token before this one of a unit?
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool is_text = tokens[i] < special.num_pieces() && tokens[i] != separator;
    if (is_text && goes_on && options.whole_words && !word_start[i]) {
      units.back().end = i + 1;
    } else if (is_text) {
      units.push_back({.order = random_words(options, sample, i)[0], .begin = i, .end = i + 1});
    }
    goes_on = is_text;
    num_candidates += is_text ? 1 : 0;
  }
  std::sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) {
    return std::pair(a.order, a.begin) < std::pair(b.order, b.begin);
  });

  const auto wanted = static_cast<std::size_t>(
      std::max(1.0, std::round(options.rate * static_cast<double>(num_candidates))));
  MaskedTokens masked{.token = {tokens.begin(), tokens.end()}, .position = {}, .label = {}};
  for (const Unit& unit : units) {
    const std::size_t taken = masked.position.size();
    if (taken > 0 && taken + unit.end - unit.begin > wanted) continue;
    for (std::size_t i = unit.begin; i < unit.end; ++i) {
      masked.position.push_back(static_cast<std::int64_t>(i));
    }
  }
  std::sort(masked.position.begin(), masked.position.end());
  for (const std::int64_t position : masked.position) {
    const auto i = static_cast<std::size_t>(position);
    const PhiloxCounter random = random_words(options, sample, i);
    masked.label.push_back(tokens[i]);
    const float what = uniform_float(random[1]);
    if (what < 0.8F) {
      masked.token[i] = special.mask;
    } else if (what < 0.9F) {
      masked.token[i] =
          static_cast<std::int32_t>(random[2] % static_cast<std::uint32_t>(special.num_pieces()));
    }
  }
  return masked;
}

}  // namespace switchyard::data
