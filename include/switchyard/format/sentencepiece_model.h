// The SentencePiece model file (a protobuf, sentencepiece_model.proto): read field by field and
// checked, because the library itself trusts it (a hostile normaliser table makes it read outside
// its buffers, repeated pieces make it exit).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::format {

enum class PieceType : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct SentencePiece {
  std::string text;  // '\xE2\x96\x81' (U+2581) stands for a space
  float score = 0.0F;
  PieceType type = PieceType::kNormal;
};

enum class SentencePieceAlgorithm : std::uint8_t { kUnigram = 1, kBpe = 2 };

// Ours: whether a newline that other text follows gets a space behind it before encoding, which
// comes out again when decoding. A word then is the same pieces at the start of a line as inside
// it.
enum class SpaceAfterNewline : std::uint8_t {
  kNever,
  kUnlessNewlineFollows,    // "\r\n" is such other text: models of early versions
  kUnlessLineBreakFollows,  // '\n' and '\r' are not: an empty line is one in CRLF text as well
};

struct SentencePieceModel {
  std::vector<SentencePiece> piece;  // by id
  SentencePieceAlgorithm algorithm = SentencePieceAlgorithm::kUnigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  std::string unknown_piece = "<unk>";
  std::string begin_piece = "<s>";
  std::string end_piece = "</s>";
  std::string padding_piece = "<pad>";
  std::string unknown_surface = " \xE2\x81\x87 ";  // what an unknown id decodes to
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::string character_map;  // precompiled normalisation table; empty = identity
  bool has_denormalizer = false;
  SpaceAfterNewline space_after_newline = SpaceAfterNewline::kNever;  // the normaliser's name
};

// Throws DataError naming `name`: broken protobuf, an unsupported algorithm, empty, repeated or
// non-UTF-8 pieces, not exactly one unknown piece, byte pieces that do not match byte_fallback, a
// score that is not finite, or a normalisation table that would be read outside its bounds.
[[nodiscard]] SentencePieceModel parse_sentencepiece_model(std::string_view bytes,
                                                           const std::string& name);

// A model file with exactly these fields: what may be handed to the library after parsing.
[[nodiscard]] std::string serialize_sentencepiece_model(const SentencePieceModel& model);

}  // namespace switchyard::format
