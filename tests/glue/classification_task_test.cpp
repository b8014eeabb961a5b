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

}  // namespace
}  // namespace switchyard::glue
