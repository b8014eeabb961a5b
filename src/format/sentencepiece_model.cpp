#include "switchyard/format/sentencepiece_model.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <unordered_set>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"

namespace switchyard::format {

void check_character_map(std::string_view map, const std::string& name);  // character_map.cpp

namespace {

// Field numbers of sentencepiece_model.proto.
constexpr std::uint32_t kModelPieces = 1;
constexpr std::uint32_t kModelTrainer = 2;
constexpr std::uint32_t kModelNormalizer = 3;
constexpr std::uint32_t kModelDenormalizer = 5;
constexpr std::uint32_t kTrainerAlgorithm = 3;
constexpr std::uint32_t kTrainerVocabSize = 4;
constexpr std::uint32_t kTrainerWhitespaceSuffix = 24;
constexpr std::uint32_t kTrainerByteFallback = 35;
constexpr std::uint32_t kTrainerUnknownSurface = 44;
constexpr std::uint32_t kTrainerUnknownPiece = 45;
constexpr std::uint32_t kTrainerBeginPiece = 46;
constexpr std::uint32_t kTrainerEndPiece = 47;
constexpr std::uint32_t kTrainerPaddingPiece = 48;
constexpr std::uint32_t kNormalizerName = 1;
constexpr std::uint32_t kNormalizerMap = 2;
constexpr std::uint32_t kNormalizerDummyPrefix = 3;
constexpr std::uint32_t kNormalizerRemoveSpaces = 4;
constexpr std::uint32_t kNormalizerEscapeSpaces = 5;

constexpr std::string_view kUnlessNewlineFollows = "switchyard_space_after_newline";
constexpr std::string_view kUnlessLineBreakFollows = "switchyard_space_after_line_break";

// The library looks up user-defined pieces into a result array of this size.
constexpr std::size_t kMaxNestedUserPieces = 64;

struct Field {
  std::uint32_t number = 0;
  std::uint32_t wire_type = 0;  // 0 varint, 1 fixed64, 2 bytes, 5 fixed32
  std::uint64_t value = 0;      // wire types 0, 1, 5
  std::string_view bytes;       // wire type 2
};

// Walks the fields of one message.
class MessageReader {
 public:
  MessageReader(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  bool next(Field& field) {
    if (offset_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    field = Field{};
    field.wire_type = static_cast<std::uint32_t>(tag & 7U);
    if ((tag >> 3U) == 0 || (tag >> 3U) > 0x1FFFFFFF) fail("bad field number");
    field.number = static_cast<std::uint32_t>(tag >> 3U);
    switch (field.wire_type) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.value = fixed<std::uint64_t>();
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.value = fixed<std::uint32_t>();
        break;
      default:
        fail("unknown wire type");
    }
    return true;
  }
  [[noreturn]] void fail(const char* what) const {
    throw DataError(
        fmt::format("{}: not a SentencePiece model: {} near byte {}", name_, what, offset_),
        "expected a .model file trained by SentencePiece");
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (offset_ == bytes_.size()) fail("truncated number");
      const auto byte = static_cast<unsigned char>(bytes_[offset_++]);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    fail("number too long");
  }
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size() - offset_) fail("truncated field");
    const auto part = bytes_.substr(offset_, size);
    offset_ += size;
    return part;
  }
  template <typename T>
  T fixed() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view bytes_;
  const std::string& name_;
  std::size_t offset_ = 0;
};

std::string_view bytes_field(const Field& field, const MessageReader& reader) {
  if (field.wire_type != 2) reader.fail("field of the wrong type");
  return field.bytes;
}
std::uint64_t varint_field(const Field& field, const MessageReader& reader) {
  if (field.wire_type != 0) reader.fail("field of the wrong type");
  return field.value;
}
bool bool_field(const Field& field, const MessageReader& reader) {
  return varint_field(field, reader) != 0;
}

SentencePiece parse_piece(std::string_view bytes, const std::string& name) {
  SentencePiece piece;
  MessageReader reader(bytes, name);
  for (Field field; reader.next(field);) {
    if (field.number == 1) {
      piece.text = bytes_field(field, reader);
    } else if (field.number == 2) {
      if (field.wire_type != 5) reader.fail("score of the wrong type");
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    } else if (field.number == 3) {
      const std::uint64_t type = varint_field(field, reader);
      if (type < 1 || type > 6) reader.fail("unknown piece type");
      piece.type = static_cast<PieceType>(type);
    }
  }
  return piece;
}

void parse_trainer(std::string_view bytes, const std::string& name, SentencePieceModel& model) {
  MessageReader reader(bytes, name);
  for (Field field; reader.next(field);) {
    switch (field.number) {
      case kTrainerAlgorithm: {
        const std::uint64_t algorithm = varint_field(field, reader);
        if (algorithm != 1 && algorithm != 2) {
          throw DataError(fmt::format("{}: model type {} is not supported", name, algorithm),
                          "use a SentencePiece model of type unigram or bpe");
        }
        model.algorithm = static_cast<SentencePieceAlgorithm>(algorithm);
        break;
      }
      case kTrainerWhitespaceSuffix:
        model.treat_whitespace_as_suffix = bool_field(field, reader);
        break;
      case kTrainerByteFallback:
        model.byte_fallback = bool_field(field, reader);
        break;
      case kTrainerUnknownSurface:
        model.unknown_surface = bytes_field(field, reader);
        break;
      case kTrainerUnknownPiece:
        model.unknown_piece = bytes_field(field, reader);
        break;
      case kTrainerBeginPiece:
        model.begin_piece = bytes_field(field, reader);
        break;
      case kTrainerEndPiece:
        model.end_piece = bytes_field(field, reader);
        break;
      case kTrainerPaddingPiece:
        model.padding_piece = bytes_field(field, reader);
        break;
      default:
        break;
    }
  }
}

SpaceAfterNewline space_after_newline(std::string_view normalizer) {
  if (normalizer == kUnlessNewlineFollows) return SpaceAfterNewline::kUnlessNewlineFollows;
  if (normalizer == kUnlessLineBreakFollows) return SpaceAfterNewline::kUnlessLineBreakFollows;
  return SpaceAfterNewline::kNever;
}

void parse_normalizer(std::string_view bytes, const std::string& name, SentencePieceModel& model) {
  MessageReader reader(bytes, name);
  for (Field field; reader.next(field);) {
    switch (field.number) {
      case kNormalizerName:
        model.space_after_newline = space_after_newline(bytes_field(field, reader));
        break;
      case kNormalizerMap:
        model.character_map = bytes_field(field, reader);
        break;
      case kNormalizerDummyPrefix:
        model.add_dummy_prefix = bool_field(field, reader);
        break;
      case kNormalizerRemoveSpaces:
        model.remove_extra_whitespaces = bool_field(field, reader);
        break;
      case kNormalizerEscapeSpaces:
        model.escape_whitespaces = bool_field(field, reader);
        break;
      default:
        break;
    }
  }
}

void check_piece(const SentencePiece& piece, std::size_t id, const std::string& name) {
  const auto fail = [&](const char* what) {
    throw DataError(fmt::format("{}: piece {} {}", name, id, what));
  };
  if (piece.text.empty()) fail("is empty");
  if (piece.text.size() > 4096) fail("is longer than 4096 bytes");
  if (piece.text.find('\0') != std::string::npos) fail("holds a NUL byte");
  if (first_invalid_utf8(piece.text).has_value()) fail("is not valid UTF-8");
  if (!std::isfinite(piece.score)) fail("has a score that is not finite");
}

void check_pieces(const SentencePieceModel& model, const std::string& name) {
  std::unordered_set<std::string_view> seen;
  std::set<std::string_view> byte_pieces;
  std::set<std::string_view> user_pieces;
  std::size_t num_unknown = 0;
  std::size_t num_ordinary = 0;
  for (std::size_t id = 0; id < model.piece.size(); ++id) {
    const SentencePiece& piece = model.piece[id];
    check_piece(piece, id, name);
    if (!seen.insert(piece.text).second) {
      throw DataError(
          fmt::format("{}: piece {} ('{}') is there twice", name, id, printable(piece.text)));
    }
    switch (piece.type) {
      case PieceType::kByte:
        byte_pieces.insert(piece.text);
        break;
      case PieceType::kUserDefined:
        user_pieces.insert(piece.text);
        break;
      case PieceType::kUnknown:
        ++num_unknown;
        break;
      default:
        break;
    }
    if (piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined) ++num_ordinary;
  }
  if (num_unknown != 1) {
    throw DataError(fmt::format("{}: {} unknown pieces, expected exactly one", name, num_unknown));
  }
  if (num_ordinary == 0) throw DataError(fmt::format("{}: no piece that text could use", name));
  if (model.byte_fallback != !byte_pieces.empty() ||
      (model.byte_fallback && byte_pieces.size() != 256)) {
    throw DataError(fmt::format("{}: byte_fallback is {} with {} byte pieces", name,
                                model.byte_fallback, byte_pieces.size()));
  }
  for (unsigned byte = 0; model.byte_fallback && byte < 256; ++byte) {
    if (!byte_pieces.contains(fmt::format("<0x{:02X}>", byte))) {
      throw DataError(fmt::format("{}: the byte piece <0x{:02X}> is missing", name, byte));
    }
  }
  for (const std::string_view piece : user_pieces) {
    std::size_t nested = 0;
    for (std::size_t length = 1; length <= piece.size(); ++length) {
      nested += user_pieces.contains(piece.substr(0, length)) ? 1 : 0;
    }
    if (nested > kMaxNestedUserPieces) {
      throw DataError(fmt::format("{}: more than {} user-defined pieces begin one another", name,
                                  kMaxNestedUserPieces));
    }
  }
}

class MessageWriter {
 public:
  void bytes(std::uint32_t number, std::string_view value) {
    varint(std::uint64_t{number} << 3U | 2U);
    varint(value.size());
    text_ += value;
  }
  void number(std::uint32_t number, std::uint64_t value) {
    varint(std::uint64_t{number} << 3U);
    varint(value);
  }
  void real(std::uint32_t number, float value) {
    varint(std::uint64_t{number} << 3U | 5U);
    const auto bits = std::bit_cast<std::array<char, 4>>(value);
    text_.append(bits.data(), bits.size());
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) text_ += static_cast<char>(value | 0x80U);
    text_ += static_cast<char>(value);
  }
  std::string text_;
};

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& name) {
  SentencePieceModel model;
  MessageReader reader(bytes, name);
  for (Field field; reader.next(field);) {
    switch (field.number) {
      case kModelPieces:
        model.piece.push_back(parse_piece(bytes_field(field, reader), name));
        break;
      case kModelTrainer:
        parse_trainer(bytes_field(field, reader), name, model);
        break;
      case kModelNormalizer:
        parse_normalizer(bytes_field(field, reader), name, model);
        break;
      case kModelDenormalizer: {
        SentencePieceModel denormalizer;
        parse_normalizer(bytes_field(field, reader), name, denormalizer);
        model.has_denormalizer = model.has_denormalizer || !denormalizer.character_map.empty();
        break;
      }
      default:
        break;
    }
  }
  if (model.piece.empty()) reader.fail("no pieces");
  check_pieces(model, name);
  if (!model.character_map.empty()) check_character_map(model.character_map, name);
  return model;
}

std::string serialize_sentencepiece_model(const SentencePieceModel& model) {
  MessageWriter out;
  for (const SentencePiece& piece : model.piece) {
    MessageWriter item;
    item.bytes(1, piece.text);
    item.real(2, piece.score);
    item.number(3, static_cast<std::uint64_t>(piece.type));
    out.bytes(kModelPieces, item.take());
  }
  MessageWriter trainer;
  trainer.number(kTrainerAlgorithm, static_cast<std::uint64_t>(model.algorithm));
  trainer.number(kTrainerVocabSize, model.piece.size());
  trainer.number(kTrainerWhitespaceSuffix, model.treat_whitespace_as_suffix ? 1 : 0);
  trainer.number(kTrainerByteFallback, model.byte_fallback ? 1 : 0);
  trainer.bytes(kTrainerUnknownSurface, model.unknown_surface);
  trainer.bytes(kTrainerUnknownPiece, model.unknown_piece);
  trainer.bytes(kTrainerBeginPiece, model.begin_piece);
  trainer.bytes(kTrainerEndPiece, model.end_piece);
  trainer.bytes(kTrainerPaddingPiece, model.padding_piece);
  out.bytes(kModelTrainer, trainer.take());
  MessageWriter normalizer;
  if (model.space_after_newline != SpaceAfterNewline::kNever) {
    normalizer.bytes(kNormalizerName,
                     model.space_after_newline == SpaceAfterNewline::kUnlessNewlineFollows
                         ? kUnlessNewlineFollows
                         : kUnlessLineBreakFollows);
  }
  if (!model.character_map.empty()) normalizer.bytes(kNormalizerMap, model.character_map);
  normalizer.number(kNormalizerDummyPrefix, model.add_dummy_prefix ? 1 : 0);
  normalizer.number(kNormalizerRemoveSpaces, model.remove_extra_whitespaces ? 1 : 0);
  normalizer.number(kNormalizerEscapeSpaces, model.escape_whitespaces ? 1 : 0);
  out.bytes(kModelNormalizer, normalizer.take());
  return out.take();
}

}  // namespace switchyard::format
