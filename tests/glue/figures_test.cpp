// results.json of anyone's: read whole, or refused with the place.
#include "switchyard/glue/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "glue/comparison/parse_figures.h"
#include "switchyard/core/error.h"

namespace switchyard::glue {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

constexpr const char* kTable =
    R"([{"task": "rte", "dev_rows_hash": "00000000000000d0",)"
    R"( "training_rows_hash": "00000000000000e0", "training_rows": 9, "max_length": 16,)"
    R"( "epochs": 3, "seeds": [7, 8, 9],)"
    R"( "diverged": [false, true, false], "training_tokens": [50, 60, null],)"
    R"( "training_flops": [7.5, 8.5, null], "eval_f1": {"by_seed": [0.5, null, null]}}])";

std::string with(const std::string& before, const std::string& after) {
  std::string text = kTable;
  const std::size_t at = text.find(before);
  if (at == std::string::npos) return "not in the table: " + before;
  return text.replace(at, before.size(), after);
}

TEST(Figures, OfATableAreReadWhole) {
  const std::vector<TaskFigures> tasks = parse_figures(kTable, "x.json");
  ASSERT_EQ(tasks.size(), 1U);
  const TaskFigures& rte = tasks[0];
  EXPECT_EQ(rte.task, "rte");
  EXPECT_EQ(rte.conditions, (Conditions{.dev_rows = "00000000000000d0",
                                        .training_rows = "00000000000000e0",
                                        .num_train_rows = 9,
                                        .max_length = 16,
                                        .epochs = 3.0,
                                        .num_rates = 1}));
  EXPECT_EQ(parse_figures(with(R"("seeds": [)", R"("tried_learning_rates": [{}, {}], "seeds": [)"),
                          "x")[0]
                .conditions.num_rates,
            2);
  ASSERT_EQ(rte.seeds.size(), 3U);
  EXPECT_EQ(rte.seeds[0].seed, 7U);
  EXPECT_EQ(rte.seeds[0].cost, (TrainingCost{.tokens = 50, .flops = 7.5}));
  EXPECT_EQ(rte.seeds[0].metrics.at("f1"), 0.5);
  EXPECT_TRUE(rte.seeds[1].diverged);
  EXPECT_TRUE(rte.seeds[1].metrics.empty());
  EXPECT_FALSE(rte.seeds[2].cost.has_value());
  EXPECT_TRUE(std::isnan(rte.seeds[2].metrics.at("f1")));
  // A correlation may be rounded up; seeds may be any 64 bits.
  EXPECT_EQ(parse_figures(with("[0.5,", "[1.0000000000000002,"), "x").size(), 1U);
  EXPECT_EQ(parse_figures(with("[7,", "[18446744073709551615,"), "x")[0].seeds[0].seed,
            18446744073709551615U);
}

TEST(Figures, OfADamagedTableAreRefusedWithThePlace) {
  const std::string many(5000, '1');
  std::string thousands = "0";
  for (int i = 1; i <= 1000; ++i) thousands += ", " + std::to_string(i);
  std::string twice = kTable;
  twice.replace(twice.size() - 1, 1, ", " + twice.substr(1));
  for (const auto& [text, problem] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "expected a list of tasks"},
           {"null", "expected a list of tasks"},
           {"[5]", "5, expected the object of a task"},
           {"[{}]", "an earlier version wrote it"},
           {twice, "task rte is there twice"},
           {with("\"rte\"", "\"r\\nt\""), "expected a short printable name"},
           {with("\"rte\"", "\"" + many + "\""), "expected a short printable name"},
           {with("\"rte\"", "7"), "task"},
           {with("0d0\"", "0d\\n\""), "'dev_rows_hash' is '00000000000000d\\x0a'"},
           {with("\"00000000000000e0\"", "\"e\""), "'training_rows_hash' is 'e'"},
           {with("\"training_rows\": 9", "\"training_rows\": 1.5"), "training_rows"},
           {with("\"epochs\": 3", "\"epochs\": null"), "epochs"},
           {with("[7, 8, 9]", "[7, 8, 7]"), "seed 7 is there twice"},
           {with("[7, 8, 9]", "[7, -1, 9]"), "seeds: -1, expected a whole number"},
           {with("[7, 8, 9]", "[7, 1.5, 9]"), "seeds: 1.5, expected a whole number"},
           {with("[7, 8, 9]", "[7, 1e300, 9]"), "seeds: 1e+300, expected a whole number"},
           {with("[7, 8, 9]", "[7, 8]"), "'diverged' has 3 values of 2 seeds"},
           {with("[7, 8, 9]", "[" + thousands + "]"), "1001 seeds, expected 1000 at most"},
           {with("true", "1"), "diverged: 1, expected true or false"},
           {with("[50,", "[9000000000000000000,"), "training_tokens: 9000000000000000000"},
           {with("[50,", "[-1,"), "training_tokens: -1"},
           {with("[7.5,", "[1e308,"), "training_flops: 1e+308"},
           {with("[7.5,", "[-7.5,"), "training_flops: -7.5"},
           {with("[0.5,", "[1e308,"), "eval_f1: 1e+308 of a seed"},
           {with("[0.5,", "[-1.5,"), "eval_f1: -1.5 of a seed"},
           {with("[0.5,", "[\"1\","), "eval_f1: \"1\" of a seed"},
           {with("[0.5, null,", "[0.5,"), "'by_seed' has 2 values of 3 seeds"},
           {with("{\"by_seed\": [0.5, null, null]}", "5"), "eval_f1"},
           {with("eval_f1", "eval_\\n| f1"), "metric 'eval_\\x0a| f1'"}}) {
    EXPECT_THAT([&] { (void)parse_figures(text, "x.json"); },
                ThrowsMessage<DataError>(AllOf(StartsWith("x.json:"), HasSubstr(problem))))
        << problem;
  }
}

}  // namespace
}  // namespace switchyard::glue
