#include "switchyard/model/batch.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

namespace switchyard::model {
namespace {

TEST(Batch, ForTheCpuIsTheSameBatch) {
  Batch batch;
  batch.token_T = at::empty({3}, at::kLong);
  batch.sequence_offset = {0, 3};
  const Batch same = to_device(batch, at::kCPU);
  EXPECT_TRUE(same.token_T.is_alias_of(batch.token_T));
  EXPECT_EQ(same.sequence_offset, batch.sequence_offset);
}

}  // namespace
}  // namespace switchyard::model
