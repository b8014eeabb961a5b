// Training lossless SentencePiece models.
//
// The library normally learns from lines without their newline, so that a newline would cost a
// byte piece of its own. Here it learns from stretches of text that keep it: a stretch ends after
// a run of line breaks, and before a line break that follows a letter. So ".\n" and "\n\n" can
// become pieces, while no piece glues a line break to a word that happened to stand there.
//
// What is cut into stretches is the text as it will be encoded, with the spaces that go before its
// first word (add_dummy_prefix) and behind newlines (space_after_newline): the first word of a text
// or a line is the same pieces as anywhere else, and every piece that is learned can be used.
#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/piece_text.h"
#include "switchyard/core/error.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/format/sentencepiece_model.h"

namespace switchyard::data {
namespace {

constexpr auto kSpaces = format::SpaceAfterNewline::kUnlessLineBreakFollows;

// Control pieces by id: a name that no text holds (private-use characters), the usual name, and
// another for texts in which the usual one became an ordinary piece.
struct ControlPiece {
  const char* while_training;
  const char* usual;
  const char* other;
};
constexpr ControlPiece kPlaceholders[] = {
    {"\uE000unknown\uE001", "<unk>", "<|unknown|>"},
    {"\uE000begin\uE001", "<s>", "<|begin|>"},
    {"\uE000end\uE001", "</s>", "<|end|>"},
};

// Serves the stretches of all texts one by one.
class Stretches final : public sentencepiece::SentenceIterator {
 public:
  explicit Stretches(std::span<const std::string> texts) : texts_(texts) { Next(); }

  [[nodiscard]] bool done() const override { return done_; }
  [[nodiscard]] const std::string& value() const override { return value_; }
  [[nodiscard]] sentencepiece::util::Status status() const override { return {}; }
  void Next() override {
    do {
      while (at_ == spaced_.size()) {
        done_ = next_text_ == texts_.size();
        if (done_) return;
        spaced_ = text_to_encode(texts_[next_text_++], true, kSpaces);
        at_ = 0;
      }
      const std::size_t end = end_of_stretch(spaced_, at_);
      value_.assign(spaced_, at_, end - at_);
      at_ = end;
    } while (starts_reserved_sign(value_));
  }

 private:
  std::span<const std::string> texts_;
  std::size_t next_text_ = 0;
  std::string spaced_;
  std::size_t at_ = 0;
  bool done_ = false;
  std::string value_;
};

// The trainer exits the process when there is no pair of characters to merge.
bool has_something_to_learn(std::span<const std::string> texts) {
  const auto both_letters = [](char a, char b) { return is_letter(a) && is_letter(b); };
  for (Stretches stretches(texts); !stretches.done(); stretches.Next()) {
    const std::string& stretch = stretches.value();
    if (std::adjacent_find(stretch.begin(), stretch.end(), both_letters) != stretch.end()) {
      return true;
    }
  }
  return false;
}

sentencepiece::util::Status train(const TokenizerSpec& spec, std::span<const std::string> texts,
                                  const char* coverage, std::string& model) {
  const bool bpe = spec.kind == TokenizerSpec::Kind::kBpe;
  const std::unordered_map<std::string, std::string> options{
      {"model_type", bpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(spec.vocab_size)},
      {"hard_vocab_limit", "false"},
      // Lossless.
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},  // stretches have theirs
      {"byte_fallback", "true"},
      {"max_sentence_length", std::to_string(2 * kMaxStretchBytes)},
      {"character_coverage", coverage},
      // Runs of spaces may become pieces, but no word glues to its punctuation: "him" is one piece
      // before a comma, a full stop and a space alike.
      {"allow_whitespace_only_pieces", "true"},
      {"split_by_unicode_script", "true"},
      // The trainer never learns from text that spells a control piece ("<unk>" in WikiText).
      {"unk_piece", kPlaceholders[0].while_training},
      {"bos_piece", kPlaceholders[1].while_training},
      {"eos_piece", kPlaceholders[2].while_training},
      // The sums of the unigram trainer depend on its number of threads: fixed.
      {"num_threads", "4"},
      {"minloglevel", "3"},
  };
  Stretches stretches(texts);
  return sentencepiece::SentencePieceTrainer::Train(options, &stretches, &model);
}

std::string name_control_pieces(const std::string& bytes) {
  format::SentencePieceModel model = format::parse_sentencepiece_model(bytes, "trained model");
  std::string* const names[] = {&model.unknown_piece, &model.begin_piece, &model.end_piece};
  for (std::size_t id = 0; id < std::size(kPlaceholders); ++id) {
    const ControlPiece& control = kPlaceholders[id];
    const auto is_taken = [&model](std::string_view name) {
      return std::any_of(model.piece.begin(), model.piece.end(),
                         [name](const auto& piece) { return piece.text == name; });
    };
    SWITCHYARD_CHECK(model.piece.at(id).text == control.while_training, "piece {} is '{}'", id,
                     model.piece[id].text);
    *names[id] = is_taken(control.usual) ? control.other : control.usual;
    model.piece[id].text = *names[id];
  }
  model.space_after_newline = kSpaces;
  model.add_dummy_prefix = true;
  return format::serialize_sentencepiece_model(model);
}

}  // namespace

Tokenizer train_tokenizer(const TokenizerSpec& spec, std::span<const std::string> texts) {
  SWITCHYARD_CHECK(spec.needs_training(), "this tokenizer is not trained");
  if (!has_something_to_learn(texts)) {
    throw DataError("there is no text that a tokenizer could be trained on",
                    "give more text, or use --tokenizer bytes");
  }
  // Rare characters fall back to bytes; the fewer pieces there are, the more of them.
  std::string model;
  sentencepiece::util::Status status;
  for (const char* coverage : {"0.9995", "0.995", "0.98"}) {
    status = train(spec, texts, coverage, model);
    if (!status.ok()) continue;
    return Tokenizer::from_sentencepiece(name_control_pieces(model), "the trained tokenizer");
  }
  const std::string reason = status.ToString();
  if (reason.find("smaller than required_chars") != std::string::npos) {
    throw UsageError(
        fmt::format("a vocabulary of {} cannot hold the text's characters", spec.vocab_size),
        "ask for a larger one, e.g. --tokenizer bpe:8192");
  }
  throw DataError(fmt::format("SentencePiece could not be trained: {}", reason));
}

}  // namespace switchyard::data
