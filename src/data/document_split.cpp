#include "data/document_split.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/philox.h"
#include "switchyard/core/utf8.h"

namespace switchyard::data {
namespace {

constexpr std::size_t kFewDocuments = 100;
constexpr std::uint32_t kStream = 0x73706C74;  // keeps these draws apart from others of the seed
constexpr double kNearEnough = 0.01;           // of the share: no further document is looked for

std::uint32_t draw(std::uint64_t seed, std::size_t document) {
  const auto index = static_cast<std::uint64_t>(document);
  return philox(philox_key(seed), {static_cast<std::uint32_t>(index),
                                   static_cast<std::uint32_t>(index >> 32U), kStream, 0})[0];
}

// The place right behind one of `marks` that is nearest to `target`, at most `reach` away and not
// at an end of the text; else npos.
std::size_t place_behind(std::string_view text, const char* marks, std::size_t target,
                         std::size_t reach) {
  std::size_t nearest = std::string_view::npos;
  const std::size_t end = std::min(text.size(), target + reach);
  const std::size_t after = text.substr(0, end).find_first_of(marks, target);
  if (after != std::string_view::npos && after + 1 < text.size()) nearest = after + 1;
  const std::size_t begin = target - std::min(target, reach);
  const std::size_t before = text.substr(begin, target - begin).find_last_of(marks);
  if (before != std::string_view::npos) {
    const std::size_t place = begin + before + 1;
    if (nearest == std::string_view::npos || target - place <= nearest - target) nearest = place;
  }
  return nearest;
}

std::size_t tail_begin(std::string_view text, double share) {
  const auto held =
      static_cast<std::size_t>(std::llround(static_cast<double>(text.size()) * share));
  const std::size_t target = text.size() - std::min(held, text.size());
  const std::size_t line = place_behind(text, "\n", target, held / 4);
  if (line != std::string_view::npos) return line;
  const std::size_t word = place_behind(text, " \t", target, held / 10);
  if (word != std::string_view::npos) return word;
  return floor_character_boundary(text, target);
}

}  // namespace

DocumentSplit::DocumentSplit(const std::string& kind, double share, std::uint64_t seed,
                             std::span<const float> document_bytes)
    : by_document_(kind == "document" ||
                   (kind == "auto" && document_bytes.size() >= kFewDocuments)),
      share_(share) {
  if (by_document_ && share_ > 0.0) draw_documents(seed, document_bytes);
}

void DocumentSplit::draw_documents(std::uint64_t seed, std::span<const float> document_bytes) {
  const std::size_t num_documents = document_bytes.size();
  held_back_.assign(num_documents, false);
  if (num_documents < 2) return;
  std::vector<std::pair<std::uint32_t, std::size_t>> order;
  order.reserve(num_documents);
  for (std::size_t i = 0; i < num_documents; ++i) order.emplace_back(draw(seed, i), i);
  std::sort(order.begin(), order.end());
  const double total = std::accumulate(document_bytes.begin(), document_bytes.end(), 0.0);
  const double target = total * share_;
  double bytes = 0.0;
  std::size_t num_held_back = 0;
  const auto hold_back = [&](std::size_t document) {
    held_back_[document] = true;
    bytes += document_bytes[document];
    ++num_held_back;
  };
  for (const auto& [drawn, document] : order) {
    if (target - bytes <= kNearEnough * target || num_held_back + 1 == num_documents) break;
    if (bytes + document_bytes[document] <= target) hold_back(document);
  }
  // What is left over is too large to fit: the smallest of it, where that comes nearer.
  std::size_t smallest = num_documents;
  for (const auto& [drawn, document] : order) {
    if (held_back_[document]) continue;
    if (smallest == num_documents || document_bytes[document] < document_bytes[smallest]) {
      smallest = document;
    }
  }
  const bool comes_nearer = bytes + document_bytes[smallest] / 2.0 < target;
  if (num_held_back == 0 || (comes_nearer && num_held_back + 1 < num_documents)) {
    hold_back(smallest);
  }
}

DocumentSplit::Parts DocumentSplit::split(std::int64_t document, std::string_view text) const {
  if (share_ <= 0.0) return {text, {}};
  if (by_document_) {
    const auto index = static_cast<std::size_t>(document);
    SWITCHYARD_CHECK(index < held_back_.size(), "document {} of {}", document, held_back_.size());
    return held_back_[index] ? Parts{{}, text} : Parts{text, {}};
  }
  const std::size_t begin = tail_begin(text, share_);
  return {text.substr(0, begin), text.substr(begin)};
}

}  // namespace switchyard::data
