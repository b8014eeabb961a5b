// A SentencePiece model behind the Tokenizer interface.
//
// When the model neither rewrites text nor lacks a byte, a text is cut wherever no piece of the
// vocabulary spans the cut (almost every space). The segments are encoded alone and remembered:
// words repeat, so that most of a text costs one table look-up per word, and the result is the
// same as that of the library on the whole text (of a unigram model up to ties, which the library
// breaks by rounding errors that grow with the length). Other BPE models are cut at single
// spaces between ASCII words, where neither the rewriting nor a piece can reach across. Bytes that
// SentencePiece cannot represent (what is not UTF-8, NUL, and U+2581, its sign for a space) go
// straight to their byte pieces, which makes such a tokenizer lossless for any input.
#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <bitset>
#include <charconv>
#include <unordered_map>
#include <utility>

#include "data/piece_text.h"
#include "data/tokenizer_model.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/utf8.h"
#include "switchyard/format/sentencepiece_model.h"

namespace switchyard::data {
namespace {

using format::PieceType;
using format::SentencePieceAlgorithm;
using format::SentencePieceModel;

constexpr std::size_t kMaxSegmentBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxWholeBytes = std::size_t{1} << 28;
constexpr std::size_t kMaxCachedBytes = 64;
constexpr std::size_t kMaxCachedSegments = std::size_t{1} << 17;

// Which pairs of bytes stand next to each other inside some piece.
class JoinedBytes {
 public:
  void add(std::string_view text) {
    for (std::size_t i = 1; i < text.size(); ++i) joined_.set(index(text[i - 1], text[i]));
  }
  [[nodiscard]] bool joined(char left, char right) const {
    return joined_.test(index(left, right));
  }
  [[nodiscard]] bool before_space() const {
    for (int byte = 0; byte < 256; ++byte) {
      if (byte != ' ' && joined(static_cast<char>(byte), ' ')) return true;
    }
    return false;
  }

 private:
  static std::size_t index(char left, char right) {
    return static_cast<std::size_t>(static_cast<unsigned char>(left)) * 256 +
           static_cast<unsigned char>(right);
  }
  std::bitset<std::size_t{256} * 256> joined_;
};

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}
bool is_word(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9');
}

struct LoadedModel {
  SentencePieceModel model;
  bool exact = false;           // the leading space is then added here, not by the library
  bool cuts_at_spaces = false;  // for the others: single spaces between two ASCII words
  sentencepiece::SentencePieceProcessor processor;
  JoinedBytes pairs;
  std::vector<std::int32_t> byte_id;  // [256] when exact
};

void check_status(const sentencepiece::util::Status& status, const std::string& name) {
  if (!status.ok()) {
    throw DataError(fmt::format("{}: SentencePiece refuses it: {}", name, status.ToString()));
  }
}

void encode_with_library(const LoadedModel& loaded, std::string_view text,
                         std::vector<std::int32_t>& ids) {
  std::vector<int> part;
  check_status(loaded.processor.Encode({text.data(), text.size()}, &part), "encode");
  ids.insert(ids.end(), part.begin(), part.end());
}

// Encodes segments, and remembers the short ones.
class SegmentEncoder : public TokenizerModel::Encoder {
 public:
  explicit SegmentEncoder(const LoadedModel& loaded) : loaded_(loaded) {}

 protected:
  void encode_segment(std::string_view segment, std::vector<std::int32_t>& ids) {
    if (segment.size() > kMaxCachedBytes) {
      encode_with_library(loaded_, segment, ids);
      return;
    }
    const auto found = cache_.find(segment);
    if (found != cache_.end()) {
      ids.insert(ids.end(), found->second.begin(), found->second.end());
      return;
    }
    std::vector<std::int32_t> part;
    encode_with_library(loaded_, segment, part);
    ids.insert(ids.end(), part.begin(), part.end());
    if (cache_.size() < kMaxCachedSegments) cache_.emplace(segment, std::move(part));
  }
  [[nodiscard]] const LoadedModel& loaded() const { return loaded_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return xxh3(text); }
  };
  const LoadedModel& loaded_;
  std::unordered_map<std::string, std::vector<std::int32_t>, Hash, std::equal_to<>> cache_;
};

class ExactEncoder final : public SegmentEncoder {
 public:
  using SegmentEncoder::SegmentEncoder;

  void encode(std::string_view part, bool begins_text, std::vector<std::int32_t>& ids) override {
    encode_any(text_to_encode(part, begins_text && loaded().model.add_dummy_prefix,
                              loaded().model.space_after_newline),
               ids);
  }

 private:
  void encode_any(std::string_view text, std::vector<std::int32_t>& ids) {
    while (!text.empty()) {
      const std::size_t bad = first_invalid_utf8(text).value_or(text.size());
      encode_utf8(text.substr(0, bad), ids);
      if (bad == text.size()) return;
      append_bytes(text.substr(bad, 1), ids);
      text.remove_prefix(bad + 1);
    }
  }
  void encode_utf8(std::string_view text, std::vector<std::int32_t>& ids) {
    std::size_t sign = text.find(kSpaceSign);
    std::size_t nul = text.find('\0');
    std::size_t at = 0;
    while (at < text.size()) {
      const std::size_t stop = std::min({sign, nul, text.size()});
      encode_plain(text.substr(at, stop - at), ids);
      at = stop;
      if (at == sign) {
        append_bytes(kSpaceSign, ids);
        at += kSpaceSign.size();
        sign = text.find(kSpaceSign, at);
      } else if (at == nul) {
        append_bytes(text.substr(at, 1), ids);
        ++at;
        nul = text.find('\0', at);
      }
    }
  }
  void encode_plain(std::string_view text, std::vector<std::int32_t>& ids) {
    std::size_t begin = 0;
    for (std::size_t i = 1; i <= text.size(); ++i) {
      const bool last = i == text.size();
      if (!last && is_continuation(text[i])) continue;
      // A segment that no cut ends for a megabyte is cut anyhow, between two characters.
      if (last || !loaded().pairs.joined(text[i - 1], text[i]) || i - begin >= kMaxSegmentBytes) {
        encode_segment(text.substr(begin, i - begin), ids);
        begin = i;
      }
    }
  }
  void append_bytes(std::string_view bytes, std::vector<std::int32_t>& ids) {
    for (const char byte : bytes) ids.push_back(loaded().byte_id[static_cast<unsigned char>(byte)]);
  }
};

// A model that rewrites text or has unknown characters: words between plain letters stand alone.
class WordEncoder final : public SegmentEncoder {
 public:
  using SegmentEncoder::SegmentEncoder;

  void encode(std::string_view part, bool begins_text, std::vector<std::int32_t>& ids) override {
    // cut() leaves a space at the beginning; the model's own prefix stands for it.
    const std::size_t dropped = loaded().model.add_dummy_prefix ? 1 : 0;
    if (!begins_text) part.remove_prefix(dropped);
    std::size_t begin = 0;
    // Unigram models are fast enough as they are, and their ties stay as the library breaks them.
    const bool by_word =
        loaded().cuts_at_spaces && loaded().model.algorithm == SentencePieceAlgorithm::kBpe;
    for (std::size_t i = 1; by_word && i + 1 < part.size(); ++i) {
      if (!is_cut(part, i)) continue;
      encode_checked(part.substr(begin, i - begin), ids);
      begin = i + dropped;
    }
    encode_checked(part.substr(begin), ids);
  }
  static bool is_cut(std::string_view text, std::size_t i) {
    return text[i] == ' ' && is_word(text[i - 1]) && is_word(text[i + 1]);
  }

 private:
  void encode_checked(std::string_view segment, std::vector<std::int32_t>& ids) {
    if (segment.size() > kMaxWholeBytes) {
      throw DataError(
          fmt::format("{} bytes of text without a space between two words: this "
                      "tokenizer takes at most {} bytes in one piece",
                      segment.size(), kMaxWholeBytes));
    }
    encode_segment(segment, ids);
  }
};

class SentencePieceTokenizer final : public TokenizerModel {
 public:
  SentencePieceTokenizer(TokenizerFacts facts, std::unique_ptr<LoadedModel> loaded)
      : TokenizerModel(std::move(facts)), loaded_(std::move(loaded)) {}

  [[nodiscard]] std::unique_ptr<Encoder> make_encoder() const override {
    if (loaded_->exact) return std::make_unique<ExactEncoder>(*loaded_);
    return std::make_unique<WordEncoder>(*loaded_);
  }
  [[nodiscard]] std::size_t cut(std::string_view text, std::size_t target) const override {
    if (!loaded_->exact && !loaded_->cuts_at_spaces) return text.size();
    for (std::size_t i = std::max<std::size_t>(target, 1); i + 1 < text.size(); ++i) {
      // What follows a newline decides whether a space goes in between.
      if (facts().space_after_newline && text[i - 1] == '\n') continue;
      const bool here = loaded_->exact ? !is_continuation(text[i]) &&
                                             (!loaded_->pairs.joined(text[i - 1], text[i]) ||
                                              i - target >= kMaxSegmentBytes)
                                       : WordEncoder::is_cut(text, i);
      if (here) return i;
    }
    return text.size();
  }

 private:
  std::unique_ptr<LoadedModel> loaded_;
};

std::optional<std::int32_t> find_control(const SentencePieceModel& model, std::string_view text,
                                         bool allow_user_defined = false) {
  for (std::size_t id = 0; id < model.piece.size(); ++id) {
    const auto& piece = model.piece[id];
    if (piece.text == text && (piece.type == PieceType::kControl ||
                               (allow_user_defined && piece.type == PieceType::kUserDefined))) {
      return static_cast<std::int32_t>(id);
    }
  }
  return std::nullopt;
}

bool has_space_piece(const SentencePieceModel& model) {
  return std::any_of(model.piece.begin(), model.piece.end(), [](const auto& piece) {
    return piece.text == kSpaceSign &&
           (piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined);
  });
}

int byte_of(const std::string& piece) {
  int byte = 0;
  std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);  // <0xE2>
  return byte;
}

void describe_pieces(const SentencePieceModel& model, TokenizerFacts& facts) {
  for (std::size_t id = 0; id < model.piece.size(); ++id) {
    const auto& piece = model.piece[id];
    std::string bytes;
    switch (piece.type) {
      case PieceType::kControl:
        break;
      case PieceType::kByte:
        bytes.assign(1, static_cast<char>(byte_of(piece.text)));
        break;
      case PieceType::kUnknown:
        bytes = model.unknown_surface;
        facts.unknown = static_cast<std::int32_t>(id);
        break;
      default:
        bytes = with_spaces(piece.text);
        if (facts.space_after_newline) bytes = without_spaces_after_newlines(bytes);
        break;
    }
    facts.bytes.push_back(std::move(bytes));
    facts.piece.push_back(shown_piece(piece.text));
  }
}

}  // namespace

std::shared_ptr<const TokenizerModel> make_sentencepiece_tokenizer(std::string bytes,
                                                                   const std::string& name) {
  auto loaded = std::make_unique<LoadedModel>();
  loaded->model = format::parse_sentencepiece_model(bytes, name);
  const SentencePieceModel& model = loaded->model;

  // Exact: encoding rewrites nothing, so that a text's segments can be encoded alone. Without a
  // piece for the space, the library would write the bytes of its sign for a space instead.
  loaded->exact = model.byte_fallback && has_space_piece(model) && model.character_map.empty() &&
                  !model.remove_extra_whitespaces && model.escape_whitespaces &&
                  !model.treat_whitespace_as_suffix && !model.has_denormalizer;

  // The library gets only what was checked.
  SentencePieceModel for_library = model;
  if (loaded->exact) for_library.add_dummy_prefix = false;
  check_status(
      loaded->processor.LoadFromSerializedProto(format::serialize_sentencepiece_model(for_library)),
      name);
  for (const auto& piece : model.piece) {
    if (piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined ||
        piece.type == PieceType::kUnused) {
      loaded->pairs.add(with_spaces(piece.text));
    }
  }

  // The space's own piece keeps unknown characters on its two sides apart.
  loaded->cuts_at_spaces =
      !loaded->pairs.before_space() && !model.treat_whitespace_as_suffix &&
      model.escape_whitespaces && (model.add_dummy_prefix || !model.remove_extra_whitespaces) &&
      std::any_of(model.piece.begin(), model.piece.end(), [](const auto& piece) {
        return piece.text == kSpaceSign && piece.type == PieceType::kNormal;
      });

  TokenizerFacts facts;
  facts.kind = model.algorithm == SentencePieceAlgorithm::kBpe ? "bpe" : "unigram";
  facts.file_name = "tokenizer.model";
  facts.hash = to_hex(xxh3(bytes));
  facts.serialized = std::move(bytes);
  facts.lossless = loaded->exact;
  // Models that are not exact rewrite text anyway.
  facts.space_after_newline =
      loaded->exact && model.space_after_newline != format::SpaceAfterNewline::kNever;
  describe_pieces(model, facts);
  if (loaded->exact) {
    loaded->byte_id.resize(256);
    for (std::size_t id = 0; id < model.piece.size(); ++id) {
      const auto& piece = model.piece[id];
      if (piece.type != PieceType::kByte) continue;
      loaded->byte_id[static_cast<std::size_t>(byte_of(piece.text))] =
          static_cast<std::int32_t>(id);
    }
  }
  facts.begin = find_control(model, model.begin_piece);
  facts.end = find_control(model, model.end_piece);
  facts.padding = find_control(model, model.padding_piece);
  facts.separator = facts.end;
  for (const char* candidate : {"[SEP]", "<|endoftext|>"}) {
    if (!facts.separator.has_value()) facts.separator = find_control(model, candidate, true);
  }
  if (!facts.separator.has_value()) facts.separator = facts.begin;
  using LeadingSpace = TokenizerFacts::LeadingSpace;
  if (model.remove_extra_whitespaces) {
    facts.leading_space = LeadingSpace::kDropAll;
  } else if (model.add_dummy_prefix) {
    facts.leading_space = LeadingSpace::kDropOne;
  }
  return std::make_shared<SentencePieceTokenizer>(std::move(facts), std::move(loaded));
}

}  // namespace switchyard::data
