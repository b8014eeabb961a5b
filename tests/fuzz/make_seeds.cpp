// Writes the seed corpora and dictionaries of the fuzz targets: make_seeds FOLDER gives
// FOLDER/<target>/NNN and, where words help, FOLDER/<target>.dict.
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/load.h"
#include "switchyard/config/presets.h"
#include "switchyard/core/file.h"
#include "switchyard/format/indexed_dataset.h"
#include "switchyard/format/safetensors.h"
#include "switchyard/format/sentencepiece_model.h"
#include "switchyard/telemetry/record.h"

namespace {

namespace fs = std::filesystem;
namespace config = switchyard::config;
namespace format = switchyard::format;
using namespace std::string_literals;
using switchyard::testing::TemporaryFolder;

class Corpus {
 public:
  Corpus(fs::path folder, const std::string& target) : folder_(std::move(folder)), target_(target) {
    fs::create_directories(folder_ / target_);
  }
  void add(std::string_view bytes) {
    switchyard::write_file_atomically(folder_ / target_ / fmt::format("{:03}", count_++), bytes);
  }
  // Words that mutations insert.
  void add_words(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) {
      text += '"';
      for (const char c : word) {
        const bool plain = c > 0x1f && c < 0x7f && c != '"' && c != '\\';
        text += plain ? std::string(1, c) : fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
      }
      text += "\"\n";
    }
    switchyard::write_file_atomically(folder_ / (target_ + ".dict"), text);
  }

 private:
  fs::path folder_;
  std::string target_;
  int count_ = 0;
};

constexpr std::string_view kMinimalConfig = R"(run: {dir: r}
data: {path: d}
train: {steps: 9}
model:
  hidden_size: 64
  num_layers: 4
  num_heads: 4
  ffn_size: 128
  moe:
    num_experts: 8
    expert_size: 32
)";

void write_config_seeds(const fs::path& folder) {
  Corpus corpus(folder, "config");
  const std::string minimal(kMinimalConfig);
  corpus.add(minimal);
  for (const auto& entry : fs::directory_iterator(fs::path(SWITCHYARD_SOURCE_DIR) / "configs")) {
    if (!entry.is_regular_file()) continue;  // settings for fine-tuning are no whole runs
    corpus.add(switchyard::read_file(entry.path()));
    corpus.add(config::to_yaml(config::load(entry.path(), {}).config));
  }
  for (const config::Preset& preset : config::all_presets()) corpus.add(preset.yaml);
  for (const char* more : {
           "    layers: [1, 3]\n    router: {type: top_k, k: 3, renormalize: false}\n",
           "    every: 2\n    router:\n      p: 4e-1\n      max_experts: none\n"
           "      p_warmup: {from: 1.0, steps: 20}\n      per_layer: {\"1\": {p: 0.5}}\n",
           "    router:\n      type: attention_importance\n      importance: attention_peak\n"
           "      k_min: 0\n      k_mean: 1.5\n      k_max: 4\n",
           "    loss: {load_balance: .nan, z: -1, scope: sequence}\n",
           "    router: {p: -0.5}\n    num_experts: 0\n",
           "    loss: &a {z: 1}\n    router: *a\n",
           "    router: !!map {p: 1.5}\n",
           "\trouter: 1\n",
           "    router: [[[[{a: [[{b: {c: [",
           "    ? [a]\n    : 1\n",
           "    router: |\n      text\n    loss: >-\n      folded\n",
           "---\n&x more: 1\n...\n%YAML 1.2\n",
       }) {
    corpus.add(minimal + more);
  }
  for (const std::string& overrides :
       {"train.steps=1e3"s, "model.moe.router.type=top_k\0model.moe.router.k=1"s,
        "model.moe.router.per_layer.2.p=0.3\0optim.betas=[0.8, 0.99]"s,
        "model.moe={every: 2}\0model.preset=huang-3.5b\0run.dir='a b'"s,
        "data.blend=[{path: a, weight: 2}, {path: b}]\0data.path="s, "=\0..=1\0run=3"s}) {
    corpus.add(minimal + '\0' + overrides);
  }
  std::vector<std::string> words = {": ", "- ",   "{", "}", "[",   "]",   ", ",   "\n  ", "&a ",
                                    "*a", "!!x ", "?", "|", "---", "...", "none", ".nan", "1e999"};
  for (const config::Field& field : config::all_fields()) {
    words.push_back(field.key + "=");
    words.push_back(field.key.substr(field.key.rfind('.') + 1) + ": ");
    for (const std::string& choice : field.choices) words.push_back(choice);
  }
  corpus.add_words(words);
}

void write_safetensors_seeds(const fs::path& folder) {
  Corpus corpus(folder, "safetensors");
  const TemporaryFolder temporary;
  format::SafetensorsWriter writer(temporary / "m",
                                   {{"model.norm.weight", format::ScalarType::kF32, {2, 3}},
                                    {"a", format::ScalarType::kU8, {3}},
                                    {"empty", format::ScalarType::kBF16, {0, 7}},
                                    {"scalar", format::ScalarType::kI64, {}}},
                                   {{"format", "pt"}});
  const std::string zeros(24, '\0');
  const auto bytes = [&zeros](std::size_t size) {
    return std::as_bytes(std::span(zeros.data(), size));
  };
  writer.append("model.norm.weight", bytes(24));
  writer.append("a", bytes(3));
  writer.append("empty", {});
  writer.append("scalar", bytes(8));
  (void)writer.commit();
  corpus.add(switchyard::read_file(temporary / "m"));
  corpus.add("{}\0"s);
  const std::string u8 = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  corpus.add(u8 + "}\0\1\2\3\4"s);
  corpus.add(u8 + R"(,"b":{"dtype":"F16","shape":[1,2],"data_offsets":[4,8]}})" + "\0abcdefgh"s);
  corpus.add(u8 + R"(,"b":{"dtype":"F64","shape":[0],"data_offsets":[2,1]}})" + "\0abcd"s);
  corpus.add(R"({"__metadata__":{"k":"v","k":2},"a":{"dtype":"Q4","shape":[-1]}})" + "\0"s);
  corpus.add(R"({"w":{"dtype":"BOOL","shape":[4294967296,4294967296],"data_offsets":[0,0]}})" +
             "\0"s);
  corpus.add(std::string(100, '[') + "\0"s);
  corpus.add_words({"\"dtype\":", "\"shape\":", "\"data_offsets\":", "\"__metadata__\":", "\"F32\"",
                    "\"BF16\"", "\"F64\"", "\"U8\"", "\"I64\"", "18446744073709551615",
                    "9223372036854775807", "1e400", "[0,0]", "\\u0000", "\\ud800"});
}

void write_indexed_dataset_seeds(const fs::path& folder) {
  Corpus corpus(folder, "indexed_dataset");
  for (const format::TokenType type : {format::TokenType::kUint16, format::TokenType::kInt32}) {
    for (const std::vector<std::size_t>& lengths :
         std::vector<std::vector<std::size_t>>{{}, {0}, {3}, {2, 0, 5}}) {
      const TemporaryFolder temporary;
      format::IndexedDatasetWriter writer(temporary / "x.idx", temporary / "x.bin", type);
      std::int32_t token = 250;
      for (const std::size_t length : lengths) {
        for (std::size_t i = 0; i < length; ++i) {
          writer.append(std::vector<std::int32_t>{token++});
        }
        writer.end_document();
      }
      writer.commit();
      const std::string index = switchyard::read_file(temporary / "x.idx");
      const std::string size{static_cast<char>(index.size() & 0xFFU),
                             static_cast<char>(index.size() >> 8U)};
      corpus.add(size + index + switchyard::read_file(temporary / "x.bin"));
    }
  }
}

void write_jsonl_seeds(const fs::path& folder) {
  Corpus corpus(folder, "jsonl");
  corpus.add("{\"text\": \"one\"}\n{\"id\": 2, \"text\": \"two \\u00e9 \\ud83d\\ude00\\n\"}\r\n\n");
  corpus.add(R"({"meta": {"text": "inner", "l": [1, -2.5e3, true, null]}, "text": ""})");
  corpus.add("{\"text\": 3}\n[\"text\"]\n{\"body\": \"b\"}\n{\"text\": \"\\ud83d\"}\n{\"text\"");
  corpus.add("{\"text\": \"a\", \"text\": \"b\"}\n{\"text\": \"\xFF\"}\n" + std::string(99, '['));
  corpus.add("[1e400, 18446744073709551616, -0, 1.7976931348623157e308, \"\\u0000\"]");
  corpus.add_words({"\"text\":", "{\"text\": \"", "\\u0000", "\\ud83d\\ude00", "\\ud800", "null",
                    "true", "1e999", "\xEF\xBB\xBF", "\xED\xA0\x80"});
}

void write_tsv_seeds(const fs::path& folder) {
  Corpus corpus(folder, "tsv");
  corpus.add("index\tsentence1\tsentence2\tlabel\n0\tone\ttwo\tentailment\n1\t\"open\t\t0\n");
  corpus.add("gj04\t1\t\tA sentence.\ngj04\t0\t*\tNo line end");
  corpus.add("\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\r\n1\t702876\t702977\r\n");
  corpus.add("a\tb\n1\n\n1\t2\t3\ncaf\xE9\t\n");
  corpus.add_words({"\t", "\n", "\r\n", "\xEF\xBB\xBF", "label", "\"", "\t\t"});
}

void write_report_seeds(const fs::path& folder) {
  using switchyard::telemetry::EvaluationRecord;
  using switchyard::telemetry::StepRecord;
  Corpus corpus(folder, "report");
  const switchyard::telemetry::RoutingRecord routing{.experts_per_token = 1.5,
                                                     .experts_per_token_p5 = 1,
                                                     .experts_per_token_p95 = 2,
                                                     .router_entropy = 0.5,
                                                     .max_violation = 0.25,
                                                     .dead_experts = 1,
                                                     .dead_fraction = 0.5};
  std::string lines;
  for (std::int64_t step = 1; step <= 3; ++step) {
    StepRecord record{.step = step, .tokens = 100 * step, .loss = 4.0, .lm_loss = 3.9};
    record.routing = routing;
    record.layers = {
        {.layer = 1, .routing = routing, .load = {0.75, 0.25}, .k_histogram = {0, 50, 50}}};
    lines += to_json(record).dump() + "\n";
    corpus.add(lines);
  }
  lines += to_json(EvaluationRecord{.step = 3, .loss = 4.0, .bits_per_byte = 2.0}).dump() + "\n";
  corpus.add(lines + "{\"event\": \"resume\", \"step\": 2}\n");
  corpus.add(lines + "\0A <sample> & more\xFF\0{\"cpu\": \"a </pre> cpu\", \"peak_flops\": 1e12}"s);
  corpus.add_words({"\"step\":", "\"load\":[", "\"k_histogram\":[", "\"event\":\"resume\"", "null",
                    "1e308", "-1", "</script>", "9223372036854775807", "]}\n{"});
}

format::SentencePieceModel small_model(format::SentencePieceAlgorithm algorithm, bool bytes) {
  using format::PieceType;
  format::SentencePieceModel model;
  model.algorithm = algorithm;
  model.byte_fallback = bytes;
  model.piece = {{"<unk>", 0, PieceType::kUnknown},
                 {"<s>", 0, PieceType::kControl},
                 {"</s>", 0, PieceType::kControl},
                 {"[SEP]", 0, PieceType::kUserDefined}};
  for (unsigned byte = 0; bytes && byte < 256; ++byte) {
    model.piece.push_back({fmt::format("<0x{:02X}>", byte), 0, PieceType::kByte});
  }
  float score = 0;
  for (const char* text : {"\xE2\x96\x81", "t", "h", "e", "th", "the", "\xE2\x96\x81the",
                           "\xC3\xA9", "\n", "\xE2\x96\x81t"}) {
    model.piece.push_back({text, score -= 1, PieceType::kNormal});
  }
  return model;
}

// The rule 'A' -> "bc" as a double array: root, child at 256 ^ 'A', its leaf at 512.
std::string one_rule_map() {
  std::vector<std::uint32_t> units(768, 0x80000000U);  // labels that match no byte
  const std::uint32_t child = 256U ^ 'A';
  units[0] = 256U << 10U;
  units[child] = (child ^ 512U) << 10U | 1U << 8U | 'A';
  const auto size = static_cast<std::uint32_t>(units.size() * 4);
  std::string map(reinterpret_cast<const char*>(&size), 4);
  map.append(reinterpret_cast<const char*>(units.data()), size);
  return map + "bc\0"s;
}

void write_tokenizer_seeds(const fs::path& folder) {
  Corpus corpus(folder, "tokenizer");
  const std::string text = "the the\n  t\xC3\xA9 \xFFxA";
  const auto add = [&](const format::SentencePieceModel& model) {
    corpus.add(std::string(1, static_cast<char>(text.size())) + text +
               format::serialize_sentencepiece_model(model));
  };
  for (const auto algorithm :
       {format::SentencePieceAlgorithm::kUnigram, format::SentencePieceAlgorithm::kBpe}) {
    for (const bool bytes : {false, true}) {
      format::SentencePieceModel model = small_model(algorithm, bytes);
      add(model);
      model.add_dummy_prefix = false;
      model.remove_extra_whitespaces = false;
      add(model);
      for (const auto rule : {format::SpaceAfterNewline::kUnlessNewlineFollows,
                              format::SpaceAfterNewline::kUnlessLineBreakFollows}) {
        model.space_after_newline = rule;
        add(model);
      }
      model.escape_whitespaces = false;
      model.treat_whitespace_as_suffix = true;
      add(model);
      if (!bytes) model.character_map = one_rule_map();
      add(model);
    }
  }
  corpus.add_words({"\x0A", "\x12", "\x1A", "\x08\x02", "<unk>", "\xE2\x96\x81", "<0x41>"});
}

void write_figures_seeds(const fs::path& folder) {
  Corpus corpus(folder, "figures");
  const std::string head =
      R"({"task": "rte", "dev_rows_hash": "00000000000000d0", "training_rows_hash":)"
      R"( "00000000000000e0", "training_rows": 9, "max_length": 16, "epochs": 3,)";
  corpus.add("[" + head +
             R"( "seeds": [], "diverged": [], "training_tokens": [],)"
             R"( "training_flops": []}])");
  corpus.add("[" + head +
             R"( "seeds": [7, 8], "diverged": [false, true],)"
             R"( "training_tokens": [50, null], "training_flops": [7.5, null],)"
             R"( "eval_f1": {"by_seed": [0.5, null]}}])");
  corpus.add_words({"\"by_seed\"", "\"eval_", "null", "true", "1e308", "18446744073709551615"});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: make_seeds FOLDER\n", stderr);
    return 2;
  }
  try {
    const fs::path folder = argv[1];
    write_config_seeds(folder);
    write_safetensors_seeds(folder);
    write_indexed_dataset_seeds(folder);
    write_jsonl_seeds(folder);
    write_report_seeds(folder);
    write_figures_seeds(folder);
    write_tsv_seeds(folder);
    write_tokenizer_seeds(folder);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make_seeds: %s\n", error.what());
    return 1;
  }
}
