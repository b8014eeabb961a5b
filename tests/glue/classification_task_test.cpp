#include "glue/classification_task.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "glue/fine_tuned.h"
#include "support/tiny_model.h"

namespace switchyard::glue {
namespace {

TEST(Predict, TakesNoMoreRowsAtATimeThanTrainingDoes) {
  config::Config config = testing::tiny_config();
  config.model.type = "encoder";
  config.data.sequence_length = 8;
  const Task& task = *parse_tasks("sst2").front();
  const auto classifier = make_classifier(config, task);
  EncodedSet rows;
  for (int i = 0; i < 10; ++i) {
    rows.rows.push_back({.token = std::vector<std::int32_t>(8, i + 1), .label = i % 2 * 1.0});
    rows.num_tokens += 8;
  }
  const auto passes = [&](std::int64_t micro_batch_size) {
    std::vector<std::int64_t> done;
    const auto progress = [&done](std::int64_t so_far, std::int64_t) { done.push_back(so_far); };
    const auto predicted = predict(*classifier, task, rows, 8,
                                   {.micro_batch_size = micro_batch_size, .progress = progress});
    EXPECT_NEAR(predicted->loss, std::log(2.0), 0.5);
    return done;
  };
  EXPECT_EQ(passes(1).size(), 10U);
  EXPECT_EQ(passes(4), (std::vector<std::int64_t>{4, 8, 10}));
  EXPECT_EQ(passes(100).size(), 1U);
}

TEST(Predict, PairPoolingReadsWhereTheSecondTextBegins) {
  config::Config config = testing::tiny_config();
  config.model.type = "encoder";
  config.data.sequence_length = 8;
  const auto loss_of = [&config](const std::string& task_name, std::int64_t second) {
    const Task& task = *parse_tasks(task_name).front();
    EncodedSet rows;
    for (int i = 0; i < 3; ++i) {
      rows.rows.push_back({.token = {1, 2 + i, 3, 4, 5 + i, 6}, .second = second, .label = 1.0});
      rows.num_tokens += 6;
    }
    return predict(*make_classifier(config, task), task, rows, 8, {.micro_batch_size = 2})->loss;
  };
  config.finetune.pooling = "mean";
  const double mean = loss_of("mrpc", 3);
  EXPECT_EQ(loss_of("mrpc", 4), mean);
  const double sentence = loss_of("sst2", 0);
  config.finetune.pooling = "pair";
  EXPECT_NE(loss_of("mrpc", 3), mean);
  EXPECT_NE(loss_of("mrpc", 4), loss_of("mrpc", 3));
  EXPECT_EQ(loss_of("sst2", 0), sentence) << "of one text it is the mean";
}

}  // namespace
}  // namespace switchyard::glue
