// Which part of a document is training text and which is validation text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace switchyard::data {

class DocumentSplit {
 public:
  struct Parts {
    std::string_view train;
    std::string_view validation;
  };

  // `kind` is auto, document or tail; `share` in [0, 1) is held back. With `document` and a share
  // above 0, each side gets at least one of two or more documents; a single one is for training.
  DocumentSplit(const std::string& kind, double share, std::uint64_t seed,
                std::int64_t num_documents);

  // A pure function of the arguments and the constructor's.
  [[nodiscard]] Parts split(std::int64_t document, std::string_view text) const;
  [[nodiscard]] const char* kind() const { return by_document_ ? "document" : "tail"; }

 private:
  [[nodiscard]] bool held_back(std::int64_t document) const;

  bool by_document_;
  double share_;
  std::uint64_t seed_;
  std::int64_t forced_validation_ = -1;  // when the draw held back nothing
  std::int64_t forced_train_ = -1;       // when it held back everything
};

}  // namespace switchyard::data
