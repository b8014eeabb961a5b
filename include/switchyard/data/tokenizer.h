// Text to token ids and back: a byte-level vocabulary that needs no file, or a SentencePiece model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::data {

class TokenizerModel;  // data/tokenizer_model.h

// Immutable and cheap to copy; every method may be called from several threads.
class Tokenizer {
 public:
  // Ids 0..255 are the bytes, 256 separates documents.
  [[nodiscard]] static Tokenizer byte_level();
  // Throws DataError naming `name` for anything but a sound unigram or BPE model.
  [[nodiscard]] static Tokenizer from_sentencepiece(std::string model, const std::string& name);
  // Reads what serialized() gave under file_name(): *.json is the byte-level vocabulary, anything
  // else a SentencePiece model. `path` may be a folder that holds tokenizer.model or
  // tokenizer.json. Throws StorageError or DataError naming the file.
  [[nodiscard]] static Tokenizer load(const std::filesystem::path& path);

  // Ids of `text`, nothing added before or after. With a lossless tokenizer any bytes are allowed;
  // the others replace what is not UTF-8.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text) const;
  // One result per text, equal to encode() of each; large batches use all threads.
  [[nodiscard]] std::vector<std::vector<std::int32_t>> encode_batch(
      std::span<const std::string_view> texts) const;
  // encode() of a text of any size in little memory: its parts of about 8 MiB, each with its ids.
  using TakePart = std::function<void(std::string_view part, std::span<const std::int32_t> ids)>;
  void encode_in_parts(std::string_view text, const TakePart& take) const;
  // The text of ids that begin a document; control ids give nothing. Throws DataError for an id
  // outside the vocabulary.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids) const;
  // The bytes that an id adds to a text (possibly a part of a character), given the id before it:
  // none or a control id (a separator) where a text begins.
  [[nodiscard]] std::string_view bytes_of(std::int32_t id,
                                          std::optional<std::int32_t> previous) const;
  // For people: spaces as U+2581, control characters escaped, lone bytes as <0xE2>.
  [[nodiscard]] std::string piece(std::int32_t id) const;

  [[nodiscard]] std::int64_t vocab_size() const;
  [[nodiscard]] std::optional<std::int32_t> begin_id() const;
  [[nodiscard]] std::optional<std::int32_t> end_id() const;
  [[nodiscard]] std::optional<std::int32_t> padding_id() const;
  [[nodiscard]] std::optional<std::int32_t> unknown_id() const;
  // What `prepare` puts after every document: the end id, else [SEP], <|endoftext|> or the begin
  // id; none when the vocabulary has none of them.
  [[nodiscard]] std::optional<std::int32_t> separator_id() const;
  // decode(encode(x)) == x for every x, by construction.
  [[nodiscard]] bool lossless() const;
  // "bytes", "bpe" or "unigram".
  [[nodiscard]] const std::string& kind() const;

  // The file that holds this tokenizer, and its hash (16 hexadecimal digits): two tokenizers with
  // one hash are the same.
  [[nodiscard]] const std::string& file_name() const;
  [[nodiscard]] const std::string& serialized() const;
  [[nodiscard]] const std::string& hash() const;

 private:
  explicit Tokenizer(std::shared_ptr<const TokenizerModel> model);
  std::shared_ptr<const TokenizerModel> model_;
};

// `bytes`, `bpe:N`, `unigram:N` or the path of a model file.
struct TokenizerSpec {
  enum class Kind { kBytes, kBpe, kUnigram, kFile };
  Kind kind = Kind::kBytes;
  std::int64_t vocab_size = 0;  // kBpe, kUnigram
  std::filesystem::path path;   // kFile

  [[nodiscard]] bool needs_training() const { return kind == Kind::kBpe || kind == Kind::kUnigram; }
};

// Throws UsageError listing the forms.
[[nodiscard]] TokenizerSpec parse_tokenizer_spec(const std::string& text);

// Trains a lossless SentencePiece model of at most spec.vocab_size pieces (fewer when the text has
// no more). The result is a pure function of the texts. Throws UsageError when the vocabulary
// cannot hold the texts' characters, DataError when there is nothing to learn from.
[[nodiscard]] Tokenizer train_tokenizer(const TokenizerSpec& spec,
                                        std::span<const std::string> texts);

}  // namespace switchyard::data
