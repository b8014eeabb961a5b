#include "switchyard/inference/batching.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "switchyard/core/error.h"

namespace switchyard::inference {
namespace {

using ::testing::ElementsAre;

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kLong);
  return {wide.const_data_ptr<std::int64_t>(), wide.const_data_ptr<std::int64_t>() + wide.numel()};
}

// 0 separates documents.
const std::vector<data::Sample> kWindows = {
    {.token = {5, 6, 0, 7, 8}, .document_start = {3}},
    {.token = {9, 0, 0, 4, 0}, .document_start = {2, 3}},
};

TEST(MakeBatch, LabelsAreTheNextTokens) {
  const model::MicroBatch micro = make_batch(kWindows, {});
  EXPECT_THAT(values(micro.batch.token_T), ElementsAre(5, 6, 0, 7, 9, 0, 0, 4));
  EXPECT_THAT(values(micro.batch.label_T), ElementsAre(6, 0, 7, 8, 0, 0, 4, 0));
  EXPECT_EQ(micro.num_tokens, 8);
  EXPECT_EQ(micro.num_labels, 8);
}

TEST(MakeBatch, AWindowIsOneSequenceWhenAttentionCrossesDocuments) {
  const model::MicroBatch micro = make_batch(kWindows, {});
  EXPECT_THAT(values(micro.batch.position_T), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_THAT(micro.batch.sequence_offset, ElementsAre(0, 4, 8));
  EXPECT_THAT(values(micro.batch.sequence_offset_B1), ElementsAre(0, 4, 8));
  EXPECT_EQ(micro.batch.sequence_offset_B1.scalar_type(), at::kInt);
}

TEST(MakeBatch, SequencesAndPositionsRestartAtEachSeparator) {
  const model::MicroBatch micro =
      make_batch(kWindows, {.attend_across_documents = false, .separator = 0});
  EXPECT_THAT(values(micro.batch.position_T), ElementsAre(0, 1, 0, 1, 0, 0, 0, 1));
  EXPECT_THAT(micro.batch.sequence_offset, ElementsAre(0, 2, 4, 5, 6, 8));
  EXPECT_THAT(values(micro.batch.sequence_offset_B1), ElementsAre(0, 2, 4, 5, 6, 8));
}

TEST(MakeBatch, WithoutASeparatorSequencesRestartAtTheFirstTokenAndNothingPredictsIt) {
  const std::vector<data::Sample> windows = {{.token = {5, 6, 7, 8, 9}, .document_start = {2, 4}}};
  const model::MicroBatch micro = make_batch(windows, {.attend_across_documents = false});
  EXPECT_THAT(micro.batch.sequence_offset, ElementsAre(0, 2, 4));
  EXPECT_THAT(values(micro.batch.position_T), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(values(micro.batch.label_T), ElementsAre(6, -1, 8, -1));
  EXPECT_EQ(micro.num_labels, 2);
}

TEST(MakeBatch, NumbersTokensByTheirPlaceInTheGlobalBatch) {
  const model::MicroBatch micro = make_batch(kWindows, {.first_sequence_idx = 6});
  EXPECT_THAT(values(micro.batch.token_idx_T), ElementsAre(24, 25, 26, 27, 28, 29, 30, 31));
}

TEST(MakeBatch, ContextHasNoLabels) {
  const model::MicroBatch micro = make_batch(kWindows, {.num_uncounted = {0, 3}});
  EXPECT_THAT(values(micro.batch.label_T), ElementsAre(6, 0, 7, 8, -1, -1, -1, 0));
  EXPECT_EQ(micro.num_labels, 5);
  EXPECT_EQ(micro.num_tokens, 8);
}

TEST(MakeBatch, WindowsOfDifferentLengthAreABug) {
  EXPECT_THROW(
      (void)make_batch(std::vector<data::Sample>{{.token = {1, 2, 3}, .document_start = {}},
                                                 {.token = {1, 2}, .document_start = {}}},
                       {}),
      InternalError);
  EXPECT_THROW((void)make_batch({}, {}), InternalError);
}

}  // namespace
}  // namespace switchyard::inference
