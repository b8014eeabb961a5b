// An .idx/.bin pair: two bytes give the size of the index, which comes first.
#include "switchyard/format/indexed_dataset.h"

#include <string>
#include <vector>

#include "fuzz/fuzz.h"

namespace {

using switchyard::format::IndexedDataset;
using switchyard::fuzz::require;

constexpr std::int64_t kVocabSize = 300;

void read_tokens(const IndexedDataset& dataset) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.num_tokens()));
  const bool all_known = switchyard::fuzz::reads([&] { dataset.read(0, kVocabSize, tokens); });
  for (const std::int32_t token : tokens) {
    require(!all_known || (token >= 0 && token < kVocabSize), "tokens are in the vocabulary");
  }
}

void check_documents(const IndexedDataset& dataset) {
  const std::int64_t num_documents = dataset.num_documents();
  std::int64_t begin = dataset.document_begin(0);
  require(begin == 0 && dataset.document_begin(num_documents) == dataset.num_tokens(),
          "documents cover the tokens");
  for (std::int64_t d = 0; d < num_documents; ++d) {
    const std::int64_t end = dataset.document_begin(d + 1);
    require(begin <= end, "documents are in order");
    if (begin < end) {
      require(dataset.document_of(begin) == d && dataset.document_of(end - 1) == d,
              "a token lies in its document");
    }
    begin = end;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t wanted = data[0] | static_cast<std::size_t>(data[1]) << 8U;
  // Blocks of their exact sizes: a read behind either is seen.
  const std::size_t index_size = std::min(wanted, size - 2);
  const std::vector<std::uint8_t> index(data + 2, data + 2 + index_size);
  const std::vector<std::uint8_t> tokens(data + 2 + index_size, data + size);
  (void)switchyard::fuzz::reads([&] {
    const IndexedDataset dataset(std::as_bytes(std::span(index)), std::as_bytes(std::span(tokens)),
                                 "x.idx", "x.bin");
    check_documents(dataset);
    read_tokens(dataset);
  });
  return 0;
}
