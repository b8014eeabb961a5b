#include "data/document_split.h"

#include <algorithm>
#include <cmath>

#include "switchyard/core/philox.h"
#include "switchyard/format/utf8.h"

namespace switchyard::data {
namespace {

constexpr std::int64_t kFewDocuments = 100;
constexpr std::uint32_t kStream = 0x73706C74;  // keeps these draws apart from others of the seed
constexpr std::size_t kNewlineSearchBytes = std::size_t{1} << 16;

std::uint32_t draw(std::uint64_t seed, std::int64_t document) {
  const auto index = static_cast<std::uint64_t>(document);
  return philox(philox_key(seed), {static_cast<std::uint32_t>(index),
                                   static_cast<std::uint32_t>(index >> 32U), kStream, 0})[0];
}

// Where the tail begins: after a newline near the wanted place, else between two characters.
std::size_t tail_begin(std::string_view text, double share) {
  const auto held =
      static_cast<std::size_t>(std::llround(static_cast<double>(text.size()) * share));
  const std::size_t target = text.size() - std::min(held, text.size());
  const std::size_t newline = text.find('\n', target);
  if (newline < text.size() - 1 && newline - target < kNewlineSearchBytes) return newline + 1;
  return format::floor_character_boundary(text, target);
}

}  // namespace

DocumentSplit::DocumentSplit(const std::string& kind, double share, std::uint64_t seed,
                             std::int64_t num_documents)
    : by_document_(kind == "document" || (kind == "auto" && num_documents >= kFewDocuments)),
      share_(share),
      seed_(seed) {
  if (!by_document_ || share_ <= 0.0) return;
  if (num_documents < 2) {
    forced_train_ = 0;
    return;
  }
  std::int64_t smallest = 0;
  std::int64_t largest = 0;
  std::int64_t num_held_back = 0;
  for (std::int64_t document = 0; document < num_documents; ++document) {
    if (draw(seed_, document) < draw(seed_, smallest)) smallest = document;
    if (draw(seed_, document) > draw(seed_, largest)) largest = document;
    num_held_back += held_back(document) ? 1 : 0;
  }
  if (num_held_back == 0) forced_validation_ = smallest;
  if (num_held_back == num_documents) forced_train_ = largest;
}

bool DocumentSplit::held_back(std::int64_t document) const {
  if (document == forced_validation_) return true;
  if (document == forced_train_) return false;
  return static_cast<double>(draw(seed_, document)) * 0x1.0p-32 < share_;
}

DocumentSplit::Parts DocumentSplit::split(std::int64_t document, std::string_view text) const {
  if (share_ <= 0.0) return {text, {}};
  if (by_document_) return held_back(document) ? Parts{{}, text} : Parts{text, {}};
  const std::size_t begin = tail_begin(text, share_);
  return {text.substr(0, begin), text.substr(begin)};
}

}  // namespace switchyard::data
