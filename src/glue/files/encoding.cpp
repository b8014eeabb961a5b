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

std::int32_t separator_of(const data::Tokenizer& tokenizer, const RowFormat& format) {
  if (!format.causal) return data::SpecialTokens::behind(tokenizer.vocab_size()).sep;
  if (const auto separator = tokenizer.separator_id()) return *separator;
  throw UsageError("the decoder's tokenizer has no piece that separates documents",
                   "a row of a task needs one behind every text; fine-tune an encoder");
}

}  // namespace

EncodedSet encode_rows(const Task& task, const std::vector<Row>& rows,
                       const data::Tokenizer& tokenizer, const RowFormat& format) {
  const std::int64_t num_texts = task.has_pairs() ? 2 : 1;
  const std::int64_t num_special = num_texts + (format.causal ? 0 : 1);
  const std::int64_t room = format.max_length - num_special;
  if (room < num_texts) {
    throw UsageError(fmt::format("finetune.max_length: {} leaves {} for {} beside {} special ones",
                                 format.max_length, room < 1 ? "no token" : "one token",
                                 num_texts == 1 ? "a text" : "two texts", num_special),
                     fmt::format("{} needs at least {}", task.folder, num_special + num_texts));
  }
  std::vector<std::string_view> texts;
  for (const Row& row : rows) {
    texts.emplace_back(row.text_a);
    if (task.has_pairs()) texts.emplace_back(row.text_b);
  }
  std::vector<Ids> ids = tokenizer.encode_batch(texts);
  const std::int32_t sep = separator_of(tokenizer, format);
  EncodedSet set;
  auto next = ids.begin();
  for (const Row& row : rows) {
    Ids a = std::move(*next++);
    Ids b = task.has_pairs() ? std::move(*next++) : Ids();
    if (std::ssize(a) + std::ssize(b) > room) {
      cut_longest_first(a, b, static_cast<std::size_t>(room));
      ++set.num_cut;
    }
    EncodedRow encoded{.token = {}, .second = 0, .label = row.label};
    if (!format.causal) {
      encoded.token.push_back(data::SpecialTokens::behind(tokenizer.vocab_size()).cls);
    }
    const auto append = [&](const Ids& text) {
      encoded.token.insert(encoded.token.end(), text.begin(), text.end());
      encoded.token.push_back(sep);
    };
    append(a);
    encoded.second = std::ssize(encoded.token);
    if (task.has_pairs()) append(b);
    set.num_tokens += std::ssize(encoded.token);
    set.longest = std::max<std::int64_t>(set.longest, std::ssize(encoded.token));
    set.rows.push_back(std::move(encoded));
  }
  return set;
}

std::string fingerprint_of(std::span<const EncodedSet> sets) {
  std::string bytes;
  const auto add = [&bytes](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  for (const EncodedSet& set : sets) {
    add(set.rows.size());
    for (const EncodedRow& row : set.rows) {
      add(row.label);
      add(row.token.size());
      for (const std::int32_t token : row.token) add(token);
    }
  }
  return to_hex(xxh3(bytes));
}

}  // namespace switchyard::glue
