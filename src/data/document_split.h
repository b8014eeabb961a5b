// Which part of a document is training text and which is validation text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::data {

class DocumentSplit {
 public:
  struct Parts {
    std::string_view train;
    std::string_view validation;
  };

  // `kind` is auto, document or tail; `share` in [0, 1) of all bytes is held back. `document`:
  // documents are taken in a random order, those left out that would lead away from the share,
  // until it is met; each side gets at least one of two or more, a single one is for training.
  // `tail`: the end of every document, from the line that begins nearest to its share; where that
  // is more than a quarter off, from a word, or from any character.
  DocumentSplit(const std::string& kind, double share, std::uint64_t seed,
                std::span<const float> document_bytes);

  // A pure function of the arguments and the constructor's.
  [[nodiscard]] Parts split(std::int64_t document, std::string_view text) const;
  [[nodiscard]] const char* kind() const { return by_document_ ? "document" : "tail"; }

 private:
  void draw_documents(std::uint64_t seed, std::span<const float> document_bytes);

  bool by_document_;
  double share_;
  std::vector<bool> held_back_;  // of each document; empty with `tail`
};

}  // namespace switchyard::data
