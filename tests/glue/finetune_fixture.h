// A grid of seconds: texts to pretrain on, tasks that a word decides, and a tiny model.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temporary_folder.h"
#include "support/tiny_model.h"
#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"
#include "switchyard/format/json.h"
#include "switchyard/glue/finetune.h"
#include "switchyard/train/pretrain.h"

namespace switchyard::glue {

namespace fs = std::filesystem;

// Rows that a word decides: "good" is 1, "poor" is 0.
inline std::string sentences(int count, const std::string& header) {
  std::string text = header;
  for (int i = 0; i < count; ++i) {
    text += (i % 3 == 0 ? "so good " : "so poor ") + std::to_string(i) + "\t" +
            (i % 3 == 0 ? "1" : "0") + "\n";
  }
  return text;
}

class Finetune : public ::testing::Test {
 protected:
  Finetune() {
    std::string text;
    for (int i = 0; i < 300; ++i)
      text += "line " + std::to_string(i % 10) + " is so good or poor\n";
    write("text.txt", text);
    data::PrepareOptions prepare;
    prepare.inputs = {(folder_ / "text.txt").string()};
    prepare.tokenizer = "bytes";
    prepare.output = folder_ / "data";
    prepare.validation = 0.1;
    (void)data::prepare(prepare);

    write("glue/SST-2/train.tsv", sentences(40, "sentence\tlabel\n"));
    write("glue/SST-2/dev.tsv", sentences(13, "sentence\tlabel\n"));
    write("glue/SST-2/test.tsv", "index\tsentence\n0\tso good\n1\tso poor\n");
    std::string scores = "index\tsentence1\tsentence2\tscore\n";
    for (int i = 0; i < 10; ++i) {
      scores += std::to_string(i) + "\ta man\ta " + std::string(1, static_cast<char>('a' + i)) +
                "\t" + std::to_string(i * 0.5) + "\n";
    }
    write("glue/STS-B/train.tsv", scores);
    write("glue/STS-B/dev.tsv", scores);
    options_ = {.tasks = parse_tasks("sst2"),
                .data = folder_ / "glue",
                .from = folder_ / "run",
                .config_file = {},
                .tokenizer = {},
                .output = folder_ / "out",
                .overrides = {"train.global_batch_size=8", "finetune.max_length=24",
                              "finetune.epochs=8", "optim.learning_rate=1e-2", "model.dropout=0"}};
  }

  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }

  // Of three steps, into folder_ / "run".
  [[nodiscard]] config::Config pretraining(const std::string& type = "encoder") const {
    config::Config config = testing::tiny_config();
    config.model.type = type;
    config.model.vocab_size = 0;
    config.data.path = (folder_ / "data").string();
    config.run.dir = (folder_ / "run").string();
    config.train.steps = 3;
    config.schedule.steps = 3;
    config.schedule.warmup_steps = 0;
    return config;
  }

  void pretrain(const std::string& type = "encoder") const {
    (void)train::pretrain(pretraining(type));
  }

  template <typename Kind>
  [[nodiscard]] std::string problem() const {
    try {
      (void)finetune(options_);
    } catch (const Kind& error) {
      return error.what() + std::string(" | ") + error.hint();
    }
    return "nothing";
  }

  [[nodiscard]] format::Json json(const std::string& name) const {
    return format::parse_json(read_file(folder_ / name), name);
  }

  testing::TemporaryFolder folder_;
  FinetuneOptions options_;
};

}  // namespace switchyard::glue
