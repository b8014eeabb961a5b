#include "switchyard/glue/encoding.h"

#include <algorithm>
#include <string_view>

#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"

namespace switchyard::glue {
namespace {

using Ids = std::vector<std::int32_t>;

// Lengths after cutting to `room` tokens together.
void cut_longest_first(Ids& a, Ids& b, std::size_t room) {
  std::size_t left = a.size();
  std::size_t right = b.size();
  while (left + right > room) --(left > right ? left : right);
  a.resize(left);
  b.resize(right);
}

}  // namespace

EncodedSet encode_rows(const Task& task, const std::vector<Row>& rows,
                       const data::Tokenizer& tokenizer, std::int64_t max_length) {
  const std::int64_t num_texts = task.has_pairs() ? 2 : 1;
  const std::int64_t room = max_length - 1 - num_texts;
  if (room < num_texts) {
    throw UsageError(fmt::format("finetune.max_length: {} leaves {} for {} beside {} special ones",
                                 max_length, room < 1 ? "no token" : "one token",
                                 num_texts == 1 ? "a text" : "two texts", num_texts + 1),
                     fmt::format("{} needs at least {}", task.folder, 2 * num_texts + 1));
  }
  std::vector<std::string_view> texts;
  for (const Row& row : rows) {
    texts.emplace_back(row.text_a);
    if (task.has_pairs()) texts.emplace_back(row.text_b);
  }
  std::vector<Ids> ids = tokenizer.encode_batch(texts);
  const auto special = data::SpecialTokens::behind(tokenizer.vocab_size());
  EncodedSet set;
  auto next = ids.begin();
  for (const Row& row : rows) {
    Ids a = std::move(*next++);
    Ids b = task.has_pairs() ? std::move(*next++) : Ids();
    if (std::ssize(a) + std::ssize(b) > room) {
      cut_longest_first(a, b, static_cast<std::size_t>(room));
      ++set.num_cut;
    }
    EncodedRow encoded{.token = {special.cls}, .label = row.label};
    const auto append = [&](const Ids& text) {
      encoded.token.insert(encoded.token.end(), text.begin(), text.end());
      encoded.token.push_back(special.sep);
    };
    append(a);
    if (task.has_pairs()) append(b);
    set.num_tokens += std::ssize(encoded.token);
    set.longest = std::max<std::int64_t>(set.longest, std::ssize(encoded.token));
    set.rows.push_back(std::move(encoded));
  }
  return set;
}

std::string fingerprint_of(const EncodedSet& set) {
  std::string bytes;
  const auto add = [&bytes](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  for (const EncodedRow& row : set.rows) {
    add(row.label);
    add(row.token.size());
    for (const std::int32_t token : row.token) add(token);
  }
  return to_hex(xxh3(bytes));
}

}  // namespace switchyard::glue
