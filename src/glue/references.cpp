#include "glue/references.h"

#include <array>
#include <vector>

namespace switchyard::glue {
namespace {

constexpr const char* kWords = "words";
constexpr const char* kWordsOfSome = "words, 10,000 rows";
constexpr const char* kOpt = "OPT-125M";
constexpr const char* kBertTiny = "BERT-Tiny";

struct Figure {
  std::string_view reference;
  std::string_view task;
  std::string_view key;
  double value = 0.0;
};

constexpr std::array kFigures = {
    Figure{kWords, "cola", "matthews_correlation", 0.134},
    Figure{kWords, "sst2", "accuracy", 0.805},
    Figure{kWords, "mrpc", "accuracy", 0.760},
    Figure{kWords, "mrpc", "f1", 0.838},
    Figure{kWords, "qqp", "accuracy", 0.763},
    Figure{kWords, "mnli", "accuracy", 0.527},
    Figure{kWords, "qnli", "accuracy", 0.679},
    Figure{kWordsOfSome, "sst2", "accuracy", 0.781},
    Figure{kWordsOfSome, "qqp", "accuracy", 0.731},
    Figure{kOpt, "sst2", "accuracy", 0.819},
    Figure{kOpt, "mrpc", "f1", 0.725},
    Figure{kOpt, "qqp", "f1", 0.604},
    Figure{kOpt, "mnli", "accuracy", 0.576},
    Figure{kOpt, "mnli", "accuracy_mm", 0.600},
    Figure{kOpt, "qnli", "accuracy", 0.615},
    Figure{kBertTiny, "cola", "matthews_correlation", 0.0},
    Figure{kBertTiny, "sst2", "accuracy", 0.832},
    Figure{kBertTiny, "mrpc", "f1", 0.811},
    Figure{kBertTiny, "qqp", "f1", 0.622},
    Figure{kBertTiny, "mnli", "accuracy", 0.702},
    Figure{kBertTiny, "qnli", "accuracy", 0.815},
};

}  // namespace

std::span<const Reference> references() {
  static const std::vector<Reference> list = {
      {.name = kWords,
       .source = "a linear model on TF-IDF of words (of pairs their differences, products and "
                 "overlap), all training rows, measured once on the files this was developed with"},
      {.name = kWordsOfSome, .source = "the same of 10,000 training rows"},
      {.name = kOpt, .source = "pretrained on 10 M words, published, dev"},
      {.name = kBertTiny, .source = "4.4 M parameters, full corpus, published, test"},
  };
  return list;
}

std::optional<double> reference_figure(const Reference& reference, std::string_view task,
                                       std::string_view key) {
  for (const Figure& figure : kFigures) {
    if (figure.reference == reference.name && figure.task == task && figure.key == key) {
      return figure.value;
    }
  }
  return std::nullopt;
}

}  // namespace switchyard::glue
