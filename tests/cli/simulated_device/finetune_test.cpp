// Pretraining an encoder and fine-tuning on a simulated GPU, alone and as two ranks with one each,
// has the CPU's figures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>
#include "support/command.h"
#include "support/temporary_folder.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using testing::Answer;
using ::testing::HasSubstr;

class FinetuneOnSimulatedDevice : public ::testing::Test {
 protected:
  // The front looks for the engine beside itself.
  void SetUp() override {
    const fs::path binaries = SWITCHYARD_BINARY_DIR;
    fs::copy_file(binaries / "switchyard", folder_ / "switchyard");
    fs::create_symlink(binaries / "tests/engine_on_simulated_device",
                       folder_ / "switchyard-engine");
    fs::create_directories(folder_ / "glue/SST-2");
    for (const auto& [name, count] : {std::pair{"train", 21}, std::pair{"dev", 9}}) {
      std::ofstream file(folder_ / "glue/SST-2" / (std::string(name) + ".tsv"));
      file << "sentence\tlabel\n";
      for (int i = 0; i < count; ++i) {
        file << "line " << i << (i % 3 == 0 ? " good\t1\n" : " poor\t0\n");
      }
    }
    std::ofstream(folder_ / "encoder.yaml")
        << "run: {dir: unused, seed: 3}\ndata: {path: unused}\ntrain: {steps: 1}\n"
           "model: {type: encoder, hidden_size: 32, num_layers: 2, num_heads: 2, ffn_size: 48, "
           "init_std: 0.2, moe: {num_experts: 4, expert_size: 24, layers: [1]}}\n";
  }

  Answer run(const std::string& arguments) const {
    return testing::run_in(
        folder_.path(), "env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE ./switchyard " + arguments);
  }

  [[nodiscard]] static std::string finetune(const std::string& output, const std::string& device) {
    return "finetune encoder.yaml --task sst2 --data glue --from none --tokenizer bytes --output " +
           output + " finetune.epochs=1 finetune.max_length=24 train.global_batch_size=8 " +
           "optim.learning_rate=1e-3 model.dropout=0.1 'train={device: " + device + "}'";
  }

  // An encoder of `name`, evaluated once, at its end.
  [[nodiscard]] static std::string pretrain(const std::string& name, const std::string& device) {
    return "pretrain encoder.yaml data.path=data data.sequence_length=32 run.dir=" + name +
           " model.moe.router.type=attention_importance model.dropout=0.1 "
           "optim.learning_rate=1e-3 train.steps=3 train.evaluate_tokens=256 train.device=" +
           device;
  }

  [[nodiscard]] nlohmann::json evaluation(const std::string& name) const {
    nlohmann::json found;
    int num_found = 0;
    std::ifstream metrics(folder_ / name / "metrics.jsonl");
    for (std::string line; std::getline(metrics, line);) {
      const auto record = nlohmann::json::parse(line);
      if (record.value("event", "") != "evaluation") continue;
      found = record;
      ++num_found;
    }
    EXPECT_EQ(num_found, 1) << name;
    return found;
  }

  [[nodiscard]] nlohmann::json results(const std::string& output) const {
    return nlohmann::json::parse(read_file(folder_ / output / "sst2/seed-3/eval_results.json"));
  }

  void expect_the_figures_of(const std::string& a, const std::string& b) const {
    EXPECT_NEAR(results(a)["eval_loss"].get<double>(), results(b)["eval_loss"].get<double>(), 1e-4);
    EXPECT_EQ(results(a)["eval_accuracy"], results(b)["eval_accuracy"]);
    EXPECT_EQ(results(a)["steps"], 3) << "21 rows by 8";
  }

  testing::TemporaryFolder folder_;
};

TEST_F(FinetuneOnSimulatedDevice, BeginsWithAnEncoderThatWasPretrainedThere) {
  std::ofstream text(folder_ / "text.txt");
  for (int i = 0; i < 600; ++i) {
    text << "line " << i * i % 97 << (i % 3 == 0 ? " good\n" : " poor\n");
  }
  text.close();
  const Answer prepared = run("prepare --input text.txt --tokenizer bytes --output data");
  ASSERT_EQ(prepared.code, 0) << prepared.errors;
  for (const char* device : {"cpu", "cuda"}) {
    const Answer pretrained = run(pretrain(std::string("encoder-") + device, device));
    ASSERT_EQ(pretrained.code, 0) << pretrained.errors;
  }
  const nlohmann::json cpu = evaluation("encoder-cpu");
  const nlohmann::json gpu = evaluation("encoder-cuda");
  const auto loss = cpu.at("loss").get<double>();
  EXPECT_GT(loss, 0.0);
  EXPECT_NEAR(gpu.at("loss").get<double>(), loss, 1e-4 * loss);
  EXPECT_EQ(gpu.at("tokens"), cpu.at("tokens"));
  EXPECT_NEAR(gpu.at("experts_per_token").get<double>(), cpu.at("experts_per_token").get<double>(),
              1e-2);

  for (const char* device : {"cpu", "cuda"}) {
    const Answer finetuned =
        run(std::string("finetune --task sst2 --data glue --from encoder-cuda --output ") + device +
            " finetune.epochs=1 finetune.max_length=24 train.global_batch_size=8 " +
            "optim.learning_rate=1e-3 train.device=" + device);
    ASSERT_EQ(finetuned.code, 0) << finetuned.errors;
  }
  expect_the_figures_of("cuda", "cpu");
}

TEST_F(FinetuneOnSimulatedDevice, AloneOrInTwoItHasTheFiguresOfACpu) {
  const Answer cpu = run(finetune("cpu", "cpu"));
  ASSERT_EQ(cpu.code, 0) << cpu.errors;
  const Answer gpu = run(finetune("gpu", "cuda"));
  ASSERT_EQ(gpu.code, 0) << gpu.errors;
  expect_the_figures_of("gpu", "cpu");
  // Of an epoch's last step one rank has four rows, the other one.
  const Answer two = run("launch --nproc 2 -- " + finetune("two", "cuda"));
  ASSERT_EQ(two.code, 0) << two.errors;
  expect_the_figures_of("two", "cpu");

  std::ofstream(folder_ / "new.tsv") << "sentence\nline 40 good\nline 41 poor\n";
  const Answer labels = run("predict gpu/sst2/seed-3 --input new.tsv");
  EXPECT_EQ(labels.code, 0) << labels.errors;
  EXPECT_THAT(labels.output, HasSubstr("index\tprediction\n0\t"));
}

}  // namespace
}  // namespace switchyard
