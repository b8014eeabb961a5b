// Shows tokens together with the number of experts that each of them got.
#pragma once

#include <string>

#include "switchyard/inference/generate.h"
#include "switchyard/inference/printable.h"

namespace switchyard::cli {

// On a terminal the text itself, its background coloured by the experts of each token; elsewhere
// token(experts) one after the other.
class ExpertView {
 public:
  ExpertView(const data::Tokenizer& tokenizer, bool coloured);

  // What to print for the next token.
  [[nodiscard]] std::string show(const inference::GeneratedToken& token);
  // What to print after the last one: colours off, the legend and the mean.
  [[nodiscard]] std::string finish();

 private:
  struct Mean {
    double sum = 0.0;
    std::int64_t num = 0;
    [[nodiscard]] std::string text() const;
  };
  const data::Tokenizer& tokenizer_;
  bool coloured_;
  inference::PrintableStream stream_;
  Mean prompt_;
  Mean generated_;
};

}  // namespace switchyard::cli
