#include "switchyard/telemetry/report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "support/temporary_folder.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/telemetry/metrics_writer.h"
#include "switchyard/telemetry/record.h"
#include "telemetry/markup.h"

namespace switchyard::telemetry {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kLastStep = 50;

StepRecord step_record(int step, int num_layers) {
  StepRecord record{.step = step, .tokens = 1000 * step};
  record.lm_loss = 4.0 - 2.0 * step / kLastStep;
  record.loss = record.lm_loss + 0.02;
  record.weighted.load_balance = 0.02;
  record.learning_rate = 1e-3;
  record.grad_norm = 0.5;
  record.tokens_per_second = 5000.0;
  record.step_ms = 200.0;
  record.mfu = 0.4;
  record.memory_bytes = 1 << 30;
  record.phase_ms = {{"forward", 80.0}, {"backward", 110.0}};
  record.routing = RoutingRecord{.experts_per_token = 1.5,
                                 .experts_per_token_p5 = 1,
                                 .experts_per_token_p95 = 2,
                                 .router_entropy = 0.7,
                                 .max_violation = 0.25};
  for (int layer = 0; layer < num_layers; ++layer) {
    RoutingRecord routing = *record.routing;
    routing.experts_per_token += 0.25 * layer;
    record.layers.push_back({.layer = 2 * layer + 1,
                             .routing = routing,
                             .losses = {},
                             .load = {0.25, 0.5, 0.125, 0.125},
                             .k_histogram = {0, 60, 30, 10, 0}});
  }
  return record;
}

// A run folder with all its pieces.
class Report : public ::testing::Test {
 protected:
  Report() {
    fs::create_directory(run_);
    MetricsWriter writer(run_ / "metrics.jsonl");
    for (int step = 1; step <= kLastStep; ++step) {
      writer.write(to_json(step_record(step, 2)));
      if (step % 10 != 0) continue;
      writer.write(to_json(EvaluationRecord{
          .step = step, .loss = 4.0 - step * 0.01, .bits_per_byte = 2.0 - step * 0.01}));
    }
    write_file_atomically(run_ / "config.resolved.yaml", config_text());
    fs::create_directory(run_ / "samples");
    write_file_atomically(run_ / "samples/step-000050.txt", "Once upon a time\n");
    write_file_atomically(run_ / "environment.json", R"({"cpu": "a cpu", "peak_flops": 1e12})");
  }

  static std::string config_text(int steps = 100) {
    const std::string yaml = fmt::format(
        "data: {{path: data/tiny}}\nrun: {{dir: runs/x}}\nmodel: {{preset: tiny}}\n"
        "train: {{steps: {}}}\n",
        steps);
    return config::to_yaml(config::load_text(yaml, "test", {}).config);
  }

  void append_to_metrics(const std::string& text) const {
    std::ofstream(run_ / "metrics.jsonl", std::ios::app) << text;
  }

  [[nodiscard]] std::string page() const { return report_page(run_); }

  const testing::TemporaryFolder folder_;
  const fs::path run_ = folder_ / "my run";
};

TEST_F(Report, ShowsEverythingAtAGlance) {
  const std::string text = page();
  EXPECT_EQ(markup_problem(text), "");
  for (const char* part :
       {"<h1>my run</h1>", "step 50 of 100", "Training loss fell from 3.96 to ", "in 50 steps",
        "Best validation loss is 3.5 (1.5 bits per byte) at step 50.",
        "layer 3 uses the most (1.75), layer 1 the fewest (1.50)", "No expert is dead.",
        "Bits per byte", "Learning rate", "Experts per token by layer", "Load of every expert",
        "Router entropy", "How many experts a token gets", "Dead experts", "Tokens per second",
        "Model FLOP utilisation", "Once upon a time", "config.resolved.yaml", "a cpu"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, HasSubstr("Training took 10s (5k tokens per second"));
  EXPECT_THAT(text, Not(HasSubstr("class=\"notes\"")));
}

TEST_F(Report, SaysThatALossyTokenizerHasNoBitsPerByte) {
  fs::remove(run_ / "metrics.jsonl");
  MetricsWriter writer(run_ / "metrics.jsonl");
  writer.write(to_json(step_record(1, 2)));
  writer.write(to_json(EvaluationRecord{.step = 1, .loss = 3.5, .lossless = false}));
  const std::string text = page();
  EXPECT_THAT(text, HasSubstr("Best validation loss is 3.5 (no bits per byte: the tokenizer loses "
                              "parts of the text) at step 1."));
  EXPECT_THAT(text, HasSubstr("none where the tokenizer loses parts of the text"));
}

TEST_F(Report, SaysWhatATemperatureIsWorth) {
  EXPECT_THAT(page(), Not(HasSubstr("temperature")));
  append_to_metrics(
      to_json(
          EvaluationRecord{.step = 50, .loss = 3.25, .bits_per_byte = 1.375, .temperature = 1.25})
          .dump() +
      "\n");
  EXPECT_THAT(page(),
              HasSubstr("Calibrated at step 50, at temperature 1.250, its validation loss is 3.25 "
                        "(1.375 bits per byte)."));
}

TEST_F(Report, NeedsNothingFromOutside) {
  const std::string text = page();
  for (const char* outside :
       {"http:", "https:", "src=", "href=", "url(", "@import", "@font-face"}) {
    EXPECT_THAT(text, Not(HasSubstr(outside)));
  }
}

TEST_F(Report, MarkupInFilesStaysText) {
  const std::string attack = "</pre><script>alert('x')</script>\" onload=\"y";
  write_file_atomically(run_ / "samples/step-000050.txt", attack + "\xff\xfe");
  write_file_atomically(run_ / "config.resolved.yaml", config_text() + "# " + attack + "\n");
  write_file_atomically(run_ / "environment.json", "{\"<script>alert(1)\": \"<b>\"}");
  MetricsWriter(run_ / "metrics.jsonl")
      .write(to_json(EvaluationRecord{.step = 50, .split = attack, .loss = 1.0}));
  StepRecord record = step_record(51, 2);
  record.phase_ms = {{attack, 5.0}};
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  append_to_metrics("{\"" + std::string("<script>alert(2)") + "\"\n");
  const std::string text = page();
  EXPECT_EQ(markup_problem(text), "");
  EXPECT_THAT(text, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(text, Not(HasSubstr("\" onload=\"y")));
  EXPECT_THAT(text, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)"));
}

TEST_F(Report, OnlyThePhasesThatTakeMostAreDrawn) {
  StepRecord record = step_record(51, 2);
  record.phase_ms = {{"forward", 50.0}, {"dust", 0.5}, {"backward", 90.0}, {"stroll", 20.0}};
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  const std::string text = page();
  for (const char* phase : {"forward", "backward", "stroll"}) EXPECT_THAT(text, HasSubstr(phase));
  EXPECT_THAT(text, Not(HasSubstr("dust")));
}

TEST_F(Report, ShowsWhichRankTheOthersWaitFor) {
  EXPECT_THAT(page(), Not(HasSubstr("Waiting for other ranks")));
  StepRecord record = step_record(51, 2);
  record.ranks = {{.rank = 0, .wait_ms = 20.0}, {.rank = 1, .wait_ms = 2.0}};
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  const std::string two = page();
  EXPECT_EQ(markup_problem(two), "");
  EXPECT_THAT(two, HasSubstr("Waiting for other ranks"));
  EXPECT_THAT(two, HasSubstr("rank 1"));
  record.step = 52;
  for (std::int64_t rank = 2; rank < 40; ++rank) record.ranks.push_back({.rank = rank});
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  EXPECT_THAT(page(), AllOf(HasSubstr("median"), Not(HasSubstr("rank 39"))));
}

TEST_F(Report, ShowsWhetherHarderTokensGetMoreExperts) {
  EXPECT_THAT(page(), Not(HasSubstr("harder tokens")));
  DifficultyRecord difficulty{
      .all = {.with_loss = {.pearson = 0.2, .spearman = 0.25}},
      .layers = {1, 3},
      .by_layer = {{.with_loss = {.spearman = 0.3}}, {.with_loss = {.spearman = -0.25}}}};
  difficulty.by_loss = {{.tokens = 10, .loss = 0.25, .experts_per_token = {1.25, 2.0}},
                        {.tokens = 10, .loss = 4.5, .experts_per_token = {2.75, 1.5}}};
  difficulty.by_word_position = {
      {.from = 1, .to = 1, .tokens = 15, .experts_per_token = {1.5, 2.0}},
      {.from = 2, .to = INFINITY, .tokens = 5, .experts_per_token = {2.5}}};  // damaged
  difficulty.by_frequency = {
      {.from = 100, .to = 999, .tokens = 20, .experts_per_token = {1.5, 2.0}}};
  MetricsWriter writer(run_ / "metrics.jsonl");
  writer.write(
      to_json(EvaluationRecord{.step = 50, .loss = 3.0, .tokens = 4096, .difficulty = difficulty}));
  const std::string text = page();
  EXPECT_EQ(markup_problem(text), "");
  for (const char* part :
       {"Harder tokens get more experts: rank correlation of experts and loss +0.25",
        "from +0.30 in layer 1 to -0.25 in layer 3", "Do harder tokens get more experts?", ">0.25<",
        ">4.50<", "[1.25,2.75]", "Experts by position in the word", ">2 and later<", "[2,null]",
        "Experts by frequency", ">100+<", "Experts and loss"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  // Newer evaluations without it do not hide it; later ones with it count.
  writer.write(to_json(EvaluationRecord{.step = 51, .loss = 3.0}));
  EXPECT_THAT(page(), HasSubstr("Do harder tokens get more experts?"));
  difficulty.all.with_loss.spearman = -0.5;
  writer.write(
      to_json(EvaluationRecord{.step = 52, .loss = 3.0, .tokens = 64, .difficulty = difficulty}));
  EXPECT_THAT(page(), HasSubstr("Harder tokens get fewer experts"));
  difficulty.all.with_loss.spearman = -0.25;
  writer.write(
      to_json(EvaluationRecord{.step = 52, .loss = 3.0, .tokens = 64, .difficulty = difficulty}));
  EXPECT_THAT(page(), HasSubstr("about as many experts")) << "so few tokens say nothing";
  difficulty.layers.clear();  // what is left of a damaged record
  difficulty.by_layer.clear();
  writer.write(to_json(EvaluationRecord{.step = 53, .loss = 3.0, .difficulty = difficulty}));
  EXPECT_EQ(markup_problem(page()), "");
}

TEST_F(Report, RecordsThatAResumeTookBackAreNotShown) {
  append_to_metrics("{\"event\": \"resume\", \"step\": 20}\n");
  const std::string text = page();
  EXPECT_THAT(text, HasSubstr("step 20 of 100"));
  EXPECT_THAT(text, HasSubstr("Best validation loss is 3.8"));
  EXPECT_THAT(text, HasSubstr("The run was resumed 1 time: after step 20."));
}

TEST_F(Report, ShowsARunThatIsStillWriting) {
  append_to_metrics("{\"step\": 51, \"lm_lo");
  EXPECT_THAT(page(), HasSubstr("step 50 of 100"));
  EXPECT_THAT(page(), Not(HasSubstr("class=\"notes\"")));
}

TEST_F(Report, AxesReachThePlannedEndOnceItIsNear) {
  EXPECT_THAT(page(), HasSubstr("&quot;hi&quot;:100,"));
  write_file_atomically(run_ / "config.resolved.yaml", config_text(100000));
  EXPECT_THAT(page(), HasSubstr("step 50 of 100000"));
  EXPECT_THAT(page(), HasSubstr("&quot;hi&quot;:50,"));
}

TEST_F(Report, DeadExpertsAreNamed) {
  StepRecord record = step_record(51, 2);
  record.layers[1].load = {0.5, 0.5, 0.0, 0.0};
  record.routing->dead_experts = 2;
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  EXPECT_THAT(page(), HasSubstr("2 of 8 experts got no token in the newest window: "
                                "layer 3 expert 2, layer 3 expert 3."));
}

TEST_F(Report, MissingPiecesBecomeNotes) {
  for (const char* name :
       {"metrics.jsonl", "config.resolved.yaml", "environment.json", "samples"}) {
    fs::remove_all(run_ / name);
    const std::string text = page();
    EXPECT_EQ(markup_problem(text), "") << name;
    if (std::string(name) != "samples") {
      EXPECT_THAT(text, HasSubstr(std::string(name) + ": No such"));
    }
  }
  EXPECT_THAT(page(), HasSubstr("No step was recorded yet."));
  EXPECT_THAT(page(), HasSubstr("No sample was written yet."));
}

TEST_F(Report, DamagedPiecesBecomeNotes) {
  std::ofstream(run_ / "metrics.jsonl") << "{\"step\": 1}\nnonsense\n";
  write_file_atomically(run_ / "config.resolved.yaml", "train: {steps: many}\n");
  write_file_atomically(run_ / "environment.json", "[1]");
  fs::create_directory(run_ / "samples/step-000060.txt");
  const std::string text = page();
  EXPECT_EQ(markup_problem(text), "");
  for (const char* part :
       {"metrics.jsonl:2", "config.resolved.yaml:1", "environment.json: expected",
        "step-000060.txt: Is a directory", "Once upon a time"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST_F(Report, AbsurdNumbersDrawAPage) {
  StepRecord record = step_record(51, 2);
  record.lm_loss = std::numeric_limits<double>::max();
  record.grad_norm = -1e308;
  record.learning_rate = 5e-324;
  record.tokens_per_second = -1.0;
  record.layers[0].load = {-1.0, 1e300};
  record.layers[0].k_histogram = {-5, 0};
  record.layers[1].load = {};
  record.layers[1].k_histogram = {};
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  record.step = std::numeric_limits<std::int64_t>::max();
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  EXPECT_EQ(markup_problem(page()), "");
}

TEST_F(Report, ModelWithoutExpertsHasNoSectionAboutThem) {
  fs::remove(run_ / "metrics.jsonl");
  StepRecord record = step_record(1, 0);
  record.routing.reset();
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  const std::string text = page();
  EXPECT_EQ(markup_problem(text), "");
  EXPECT_THAT(text, Not(HasSubstr("<h2>Experts</h2>")));
  EXPECT_THAT(text, Not(HasSubstr("expert is dead")));
}

TEST_F(Report, RunOfOlderRecordsLacksOnlyTheHistogram) {
  fs::remove(run_ / "metrics.jsonl");
  StepRecord record = step_record(1, 2);
  for (LayerRecord& layer : record.layers) layer.k_histogram.clear();
  MetricsWriter(run_ / "metrics.jsonl").write(to_json(record));
  EXPECT_THAT(page(), HasSubstr("did not record how many tokens got k experts"));
}

TEST_F(Report, LongRunsStayASmallPage) {
  MetricsWriter writer(run_ / "metrics.jsonl");
  const std::size_t before = page().size();
  for (int step = 51; step <= 3000; ++step) writer.write(to_json(step_record(step, 2)));
  EXPECT_LT(page().size(), 12 * before);
}

TEST_F(Report, OnlyTheNewestSamplesAreShown) {
  for (const int step : {100, 200, 300, 400, 500, 600, 1000000}) {
    write_file_atomically(run_ / fmt::format("samples/step-{:06}.txt", step),
                          fmt::format("text of {}", step));
  }
  const std::string text = page();
  EXPECT_LT(text.find("text of 1000000"), text.find("text of 600"));
  EXPECT_THAT(text, HasSubstr("text of 300"));
  EXPECT_THAT(text, Not(HasSubstr("text of 200")));
  EXPECT_THAT(text, HasSubstr("3 older ones"));
}

TEST_F(Report, IsWrittenWhereAsked) {
  write_report(run_, run_ / kReportName);
  EXPECT_EQ(read_file(run_ / "report.html"), page());
  EXPECT_THROW(write_report(run_, folder_ / "missing/report.html"), StorageError);
}

}  // namespace
}  // namespace switchyard::telemetry
