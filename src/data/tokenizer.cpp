// The byte-level vocabulary, and what all tokenizers share: batches, decoding, files.
#include "switchyard/data/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "data/tokenizer_model.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/parallel.h"
#include "switchyard/format/json.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

constexpr std::int32_t kByteSeparator = 256;
constexpr const char* kModelFile = "tokenizer.model";
constexpr const char* kByteFile = "tokenizer.json";
constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::size_t kLargePartBytes = std::size_t{8} << 20;

class ByteLevelModel final : public TokenizerModel {
 public:
  using TokenizerModel::TokenizerModel;

  class ByteEncoder final : public Encoder {
   public:
    void encode(std::string_view part, bool /*begins_text*/,
                std::vector<std::int32_t>& ids) override {
      ids.reserve(ids.size() + part.size());
      for (const char byte : part) ids.push_back(static_cast<unsigned char>(byte));
    }
  };
  [[nodiscard]] std::unique_ptr<Encoder> make_encoder() const override {
    return std::make_unique<ByteEncoder>();
  }
  [[nodiscard]] std::size_t cut(std::string_view text, std::size_t target) const override {
    return std::min(target, text.size());
  }
};

TokenizerFacts byte_level_facts() {
  TokenizerFacts facts;
  facts.kind = "bytes";
  facts.file_name = kByteFile;
  facts.lossless = true;
  facts.end = kByteSeparator;
  facts.separator = kByteSeparator;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    facts.bytes.push_back(text);
    facts.piece.push_back(byte < 0x80 ? shown_piece(text) : fmt::format("<0x{:02X}>", byte));
  }
  facts.bytes.emplace_back();
  facts.piece.emplace_back("<eos>");
  const format::Json json = {{"format", "switchyard-tokenizer"},
                             {"version", 1},
                             {"kind", "bytes"},
                             {"vocab_size", facts.bytes.size()},
                             {"separator_id", kByteSeparator}};
  facts.serialized = json.dump(2) + "\n";
  facts.hash = to_hex(xxh3(facts.serialized));
  return facts;
}

Tokenizer parse_byte_level(const std::string& text, const std::string& name) {
  const format::Json json = format::parse_json(text, name);
  if (format::json_string(json, "format", name) != "switchyard-tokenizer" ||
      format::json_string(json, "kind", name) != "bytes") {
    throw DataError(fmt::format("{}: not the byte-level tokenizer that switchyard writes", name),
                    "SentencePiece models are the .model files");
  }
  Tokenizer tokenizer = Tokenizer::byte_level();
  if (format::json_integer(json, "version", name) != 1 ||
      format::json_integer(json, "vocab_size", name) != tokenizer.vocab_size()) {
    throw DataError(fmt::format("{}: written by another version of switchyard", name));
  }
  return tokenizer;
}

// One text's part [begin, end).
struct Part {
  std::size_t text;
  std::size_t begin;
  std::size_t end;
};

// Cuts the parts into smaller ones of about kBlockBytes and groups these into blocks of about that
// size. The cuts depend on the texts only, never on the number of threads.
std::vector<std::vector<Part>> blocks_of(const TokenizerModel& model,
                                         std::span<const std::string_view> texts,
                                         std::span<const Part> parts) {
  std::vector<std::vector<Part>> blocks(1);
  std::size_t bytes = 0;
  for (const Part& part : parts) {
    std::size_t begin = part.begin;
    do {
      std::size_t end = part.end;
      if (end - begin > 2 * kBlockBytes) {
        end = model.cut(texts[part.text].substr(0, part.end), begin + kBlockBytes);
      }
      if (bytes >= kBlockBytes) {
        blocks.emplace_back();
        bytes = 0;
      }
      blocks.back().push_back({part.text, begin, end});
      bytes += end - begin;
      begin = end;
    } while (begin < part.end);
  }
  return blocks;
}

// The ids of each text's parts, one after the other.
std::vector<std::vector<std::int32_t>> encode_parts(const TokenizerModel& model,
                                                    std::span<const std::string_view> texts,
                                                    std::span<const Part> parts) {
  const auto blocks = blocks_of(model, texts, parts);
  std::vector<std::vector<std::vector<std::int32_t>>> block_ids(blocks.size());
  parallel_for(
      static_cast<std::int64_t>(blocks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto b = static_cast<std::size_t>(begin); b < static_cast<std::size_t>(end); ++b) {
          const auto encoder = model.make_encoder();
          block_ids[b].resize(blocks[b].size());
          for (std::size_t i = 0; i < blocks[b].size(); ++i) {
            const Part& part = blocks[b][i];
            encoder->encode(texts[part.text].substr(part.begin, part.end - part.begin),
                            part.begin == 0, block_ids[b][i]);
          }
        }
      });
  std::vector<std::vector<std::int32_t>> result(texts.size());
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    for (std::size_t i = 0; i < blocks[b].size(); ++i) {
      std::vector<std::int32_t>& ids = result[blocks[b][i].text];
      if (ids.empty()) {
        ids = std::move(block_ids[b][i]);
      } else {
        std::ranges::copy(block_ids[b][i], std::back_inserter(ids));
      }
    }
  }
  return result;
}

}  // namespace

std::string shown_piece(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      result += "\\n";
    } else if (c == '\r') {
      result += "\\r";
    } else if (c == '\t') {
      result += "\\t";
    } else if (c == ' ') {
      result += "\xE2\x96\x81";
    } else if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("<0x{:02X}>", byte);
    } else {
      result += c;
    }
  }
  return result;
}

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerModel> model) : model_(std::move(model)) {}

Tokenizer Tokenizer::byte_level() {
  return Tokenizer(std::make_shared<ByteLevelModel>(byte_level_facts()));
}

Tokenizer Tokenizer::from_sentencepiece(std::string model, const std::string& name) {
  return Tokenizer(make_sentencepiece_tokenizer(std::move(model), name));
}

Tokenizer Tokenizer::load(const fs::path& path) {
  if (fs::is_directory(path)) {
    if (fs::exists(path / kModelFile)) return load(path / kModelFile);
    if (fs::exists(path / kByteFile)) return load(path / kByteFile);
    throw DataError(
        fmt::format("{}: holds neither {} nor {}", path.string(), kModelFile, kByteFile));
  }
  std::string bytes = read_file(path);
  if (path.extension() == ".json") return parse_byte_level(bytes, path.string());
  return from_sentencepiece(std::move(bytes), path.string());
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  return std::move(encode_batch(std::span(&text, 1)).front());
}

std::vector<std::vector<std::int32_t>> Tokenizer::encode_batch(
    std::span<const std::string_view> texts) const {
  std::vector<Part> whole;
  for (std::size_t text = 0; text < texts.size(); ++text) {
    whole.push_back({text, 0, texts[text].size()});
  }
  return encode_parts(*model_, texts, whole);
}

void Tokenizer::encode_in_parts(std::string_view text, const TakePart& take) const {
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.size();
    if (end - begin > 2 * kLargePartBytes) end = model_->cut(text, begin + kLargePartBytes);
    const Part part{0, begin, end};
    const auto ids = encode_parts(*model_, std::span(&text, 1), std::span(&part, 1));
    take(text.substr(begin, end - begin), ids.front());
    begin = end;
  }
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  const bool drop_all = model_->facts().leading_space == TokenizerFacts::LeadingSpace::kDropAll;
  std::string text;
  std::optional<std::int32_t> previous;
  for (const std::int32_t id : ids) {
    std::string_view bytes = bytes_of(id, previous);
    previous = id;
    if (drop_all && text.empty() && id != unknown_id() && bytes.starts_with(' ')) {
      bytes.remove_prefix(1);
    }
    text += bytes;
  }
  return text;
}

std::string_view Tokenizer::bytes_of(std::int32_t id, std::optional<std::int32_t> previous) const {
  const auto raw = [this](std::int32_t any) -> std::string_view {
    if (any < 0 || any >= vocab_size()) {
      throw DataError(fmt::format("token {} is outside the vocabulary of {}", any, vocab_size()));
    }
    return model_->facts().bytes[static_cast<std::size_t>(any)];
  };
  const TokenizerFacts& facts = model_->facts();
  std::string_view bytes = raw(id);
  if (!bytes.starts_with(' ') || id == facts.unknown) return bytes;
  // Behind a control piece a text begins as well.
  const bool begins_text =
      !previous.has_value() || (*previous != facts.unknown && raw(*previous).empty());
  const bool was_added = begins_text ? facts.leading_space != TokenizerFacts::LeadingSpace::kKeep
                                     : facts.space_after_newline && raw(*previous).ends_with('\n');
  if (was_added) bytes.remove_prefix(1);
  return bytes;
}

std::string Tokenizer::piece(std::int32_t id) const {
  (void)bytes_of(id, std::nullopt);
  return model_->facts().piece[static_cast<std::size_t>(id)];
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(model_->facts().bytes.size());
}
std::optional<std::int32_t> Tokenizer::begin_id() const {
  return model_->facts().begin;
}
std::optional<std::int32_t> Tokenizer::end_id() const {
  return model_->facts().end;
}
std::optional<std::int32_t> Tokenizer::padding_id() const {
  return model_->facts().padding;
}
std::optional<std::int32_t> Tokenizer::unknown_id() const {
  return model_->facts().unknown;
}
std::optional<std::int32_t> Tokenizer::separator_id() const {
  return model_->facts().separator;
}
bool Tokenizer::lossless() const {
  return model_->facts().lossless;
}
const std::string& Tokenizer::kind() const {
  return model_->facts().kind;
}
const std::string& Tokenizer::file_name() const {
  return model_->facts().file_name;
}
const std::string& Tokenizer::serialized() const {
  return model_->facts().serialized;
}
const std::string& Tokenizer::hash() const {
  return model_->facts().hash;
}

TokenizerSpec parse_tokenizer_spec(const std::string& text) {
  constexpr std::int64_t kSmallest = 300;  // 256 bytes, 3 control pieces and a few characters
  constexpr std::int64_t kLargest = 1'000'000;
  const std::string forms = "forms: bytes | bpe:N | unigram:N | FILE.model";
  if (text == "bytes") return {};
  for (const auto& [prefix, kind] : {std::pair{"bpe:", TokenizerSpec::Kind::kBpe},
                                     std::pair{"unigram:", TokenizerSpec::Kind::kUnigram}}) {
    if (!text.starts_with(prefix)) continue;
    const std::string_view number = std::string_view(text).substr(std::string_view(prefix).size());
    std::int64_t size = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), size);
    if (error != std::errc{} || end != number.data() + number.size() || size < kSmallest ||
        size > kLargest) {
      throw UsageError(fmt::format("--tokenizer {}: expected a vocabulary size from {} to {}", text,
                                   kSmallest, kLargest),
                       forms);
    }
    return {kind, size, {}};
  }
  if (fs::is_regular_file(text)) return {TokenizerSpec::Kind::kFile, 0, text};
  throw UsageError(fmt::format("--tokenizer {}: neither a known form nor a file", text), forms);
}

}  // namespace switchyard::data
