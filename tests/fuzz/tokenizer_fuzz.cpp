// A SentencePiece model file, all the way into the library, which then encodes a text: one byte
// gives the length of the text, which comes first.
#include "switchyard/data/tokenizer.h"

#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "switchyard/format/sentencepiece_model.h"

namespace {

namespace format = switchyard::format;
using switchyard::fuzz::require;

void check_serialized(const std::string& bytes) {
  (void)switchyard::fuzz::reads([&] {
    const std::string written =
        format::serialize_sentencepiece_model(format::parse_sentencepiece_model(bytes, "x.model"));
    const std::string again = format::serialize_sentencepiece_model(
        format::parse_sentencepiece_model(written, "again.model"));
    require(written == again, "a model survives being written");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input = switchyard::fuzz::as_text(data + 1, size - 1);
  const std::string text(input.substr(0, data[0]));
  const std::string model(input.substr(text.size()));
  check_serialized(model);
  (void)switchyard::fuzz::reads([&] {
    const auto tokenizer = switchyard::data::Tokenizer::from_sentencepiece(model, "x.model");
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    for (const std::int32_t id : ids) {
      require(id >= 0 && id < tokenizer.vocab_size(), "ids are in the vocabulary");
      (void)tokenizer.piece(id);
    }
    const std::string decoded = tokenizer.decode(ids);
    require(!tokenizer.lossless() || decoded == text, "a lossless tokenizer gives the text back");
  });
  return 0;
}
