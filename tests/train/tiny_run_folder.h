// Prepared data of a few kilobytes and a config of a run on it, in a folder of its own.
#pragma once

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"
#include "switchyard/format/json.h"
#include "train/tiny.h"

namespace switchyard::train {

struct TinyRunFolder {
  TinyRunFolder() {
    prepare_lines("data", 400);
    config = tiny_config();
    config.model.vocab_size = 0;  // the tokenizer's
    config.data.path = (folder / "data").string();
    config.run.dir = (folder / "run").string();
    config.schedule.warmup_steps = 0;
    config.train.steps = 20;
    config.train.log_every = 1;
    config.train.sample_prompt = "line";
    config.train.sample_tokens = 4;
  }

  void prepare_lines(const std::string& name, int num_lines) const {
    std::string text;
    for (int i = 0; i < num_lines; ++i) text += "line " + std::to_string(i % 10) + " of the book\n";
    std::ofstream(folder / (name + ".txt")) << text;
    data::PrepareOptions options;
    options.inputs = {(folder / (name + ".txt")).string()};
    options.tokenizer = "bytes";
    options.output = folder / name;
    options.validation = 0.1;
    (void)data::prepare(options);
  }

  // All records of metrics.jsonl.
  [[nodiscard]] std::vector<format::Json> records(const std::string& run = "run") const {
    std::vector<format::Json> lines;
    std::istringstream stream(read_file(folder / (run + "/metrics.jsonl")));
    for (std::string line; std::getline(stream, line);) {
      lines.push_back(format::parse_json(line, "metrics.jsonl"));
    }
    return lines;
  }

  // Of steps, without those that a resume made void.
  [[nodiscard]] std::vector<format::Json> step_records(const std::string& run = "run") const {
    std::vector<format::Json> steps;
    for (const format::Json& record : records(run)) {
      if (!record.contains("event")) steps.push_back(record);
      if (record.value("event", "") == "resume") {
        const auto step = record["step"].get<std::int64_t>();
        std::erase_if(steps, [step](const format::Json& earlier) {
          return earlier["step"].get<std::int64_t>() > step;
        });
      }
    }
    return steps;
  }

  testing::TemporaryFolder folder;
  config::Config config;
};

}  // namespace switchyard::train
