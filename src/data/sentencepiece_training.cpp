// Training lossless SentencePiece models.
//
// The library normally learns from lines without their newline, so that a newline would cost a
// byte piece of its own. Here it learns from stretches of text that keep it: a stretch ends after
// a run of newlines, and before a newline that follows a letter. So ".\n" and "\n\n" can become
// pieces, while no piece glues a line break to a word that happened to stand there. A stretch that
// follows a newline is learned with a space before it, as it is encoded (space_after_newline): the
// first word of a line is the same pieces as anywhere else.
#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/format/sentencepiece_model.h"
#include "switchyard/format/utf8.h"

namespace switchyard::data {
namespace {

constexpr std::size_t kMaxStretchBytes = 8192;
// Signs that the trainer reserves for itself: a space, and an unknown character.
constexpr std::string_view kReserved[] = {"\xE2\x96\x81", "\xE2\x96\x85"};

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

bool is_letter(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return value >= 0x80 || (value >= '0' && value <= '9') || (value >= 'A' && value <= 'Z') ||
         (value >= 'a' && value <= 'z');
}

// Serves the stretches of all texts one by one.
class Stretches final : public sentencepiece::SentenceIterator {
 public:
  explicit Stretches(std::span<const std::string> texts) : texts_(texts) { Next(); }

  [[nodiscard]] bool done() const override { return done_; }
  [[nodiscard]] const std::string& value() const override { return value_; }
  [[nodiscard]] sentencepiece::util::Status status() const override { return {}; }
  void Next() override {
    do {
      while (text_ < texts_.size() && at_ == texts_[text_].size()) {
        ++text_;
        at_ = 0;
      }
      done_ = text_ == texts_.size();
      if (done_) return;
      const std::size_t end = end_of_stretch(texts_[text_], at_);
      const bool after_newline = at_ > 0 && texts_[text_][at_ - 1] == '\n';
      const bool spaced =
          after_newline && texts_[text_][at_] != '\n' && !starts_reserved(texts_[text_], at_);
      value_.assign(spaced ? " " : "");
      value_.append(texts_[text_], at_, end - at_);
      at_ = end;
    } while (std::any_of(std::begin(kReserved), std::end(kReserved),
                         [this](std::string_view sign) { return value_ == sign; }));
  }

 private:
  static bool starts_reserved(std::string_view text, std::size_t at) {
    return std::any_of(std::begin(kReserved), std::end(kReserved),
                       [&](std::string_view sign) { return text.substr(at).starts_with(sign); });
  }

  static std::size_t end_of_stretch(std::string_view text, std::size_t begin) {
    if (starts_reserved(text, begin)) return begin + kReserved[0].size();
    for (std::size_t i = begin + 1; i < text.size(); ++i) {
      if ((text[i] == '\n' || text[i] == '\r') && is_letter(text[i - 1])) return i;
      if (text[i - 1] == '\n' && text[i] != '\n' && text[i] != '\r') return i;
      if (text[i] == '\xE2' && starts_reserved(text, i)) return i;
      if (i - begin >= kMaxStretchBytes) return format::floor_character_boundary(text, i);
    }
    return text.size();
  }

  std::span<const std::string> texts_;
  std::size_t text_ = 0;
  std::size_t at_ = 0;
  bool done_ = false;
  std::string value_;
};

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
      {"add_dummy_prefix", "false"},
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
  model.space_after_newline = true;
  return format::serialize_sentencepiece_model(model);
}

}  // namespace

Tokenizer train_tokenizer(const TokenizerSpec& spec, std::span<const std::string> texts) {
  SWITCHYARD_CHECK(spec.needs_training(), "this tokenizer is not trained");
  // The trainer exits the process when there is no pair of characters to merge.
  const bool learnable = std::any_of(texts.begin(), texts.end(), [](const std::string& text) {
    return std::adjacent_find(text.begin(), text.end(), [](char a, char b) {
             return is_letter(a) && is_letter(b);
           }) != text.end();
  });
  if (!learnable) {
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
