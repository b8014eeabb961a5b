// What the kinds of tokenizer share and what they differ in.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::data {

// Filled once when the tokenizer is made.
struct TokenizerFacts {
  std::string kind;
  std::string file_name;
  std::string serialized;
  std::string hash;
  bool lossless = false;
  std::optional<std::int32_t> begin;
  std::optional<std::int32_t> end;
  std::optional<std::int32_t> padding;
  std::optional<std::int32_t> unknown;
  std::optional<std::int32_t> separator;
  std::vector<std::string> bytes;  // by id: what it decodes to
  std::vector<std::string> piece;  // by id: for people
  // Decoding drops one space (or all) at the beginning of a text, which encode() put there.
  enum class LeadingSpace { kKeep, kDropOne, kDropAll };
  LeadingSpace leading_space = LeadingSpace::kKeep;
  // encode() put a space behind every newline that other text follows; decoding drops it.
  bool space_after_newline = false;
};

class TokenizerModel {
 public:
  explicit TokenizerModel(TokenizerFacts facts) : facts_(std::move(facts)) {}
  virtual ~TokenizerModel() = default;
  TokenizerModel(const TokenizerModel&) = delete;
  TokenizerModel& operator=(const TokenizerModel&) = delete;

  [[nodiscard]] const TokenizerFacts& facts() const { return facts_; }

  // State that one thread may keep from text to text.
  class Encoder {
   public:
    virtual ~Encoder() = default;
    // Appends the ids of a part of a text that cut() allowed to stand alone.
    virtual void encode(std::string_view part, bool begins_text,
                        std::vector<std::int32_t>& ids) = 0;
  };
  [[nodiscard]] virtual std::unique_ptr<Encoder> make_encoder() const = 0;
  // The first offset >= `target` where `text` may be cut without changing its ids; text.size()
  // when there is none.
  [[nodiscard]] virtual std::size_t cut(std::string_view text, std::size_t target) const = 0;

 private:
  TokenizerFacts facts_;
};

[[nodiscard]] std::shared_ptr<const TokenizerModel> make_sentencepiece_tokenizer(
    std::string model, const std::string& name);

// Control characters escaped, everything else as it is.
[[nodiscard]] std::string shown_piece(std::string_view text);

}  // namespace switchyard::data
