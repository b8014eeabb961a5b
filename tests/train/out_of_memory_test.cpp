#include "train/out_of_memory.h"

#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"

namespace switchyard::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

config::Config config_with(const std::vector<std::string>& overrides) {
  return config::load_text(
             "run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\nmodel: {preset: tiny}\n", "test",
             overrides)
      .config;
}

// What a step that asks LibTorch for an exabyte is answered.
std::string answer(const config::Config& config, double experts_per_token) {
  try {
    (void)at::empty({std::int64_t{1} << 60}, at::kByte);
  } catch (const c10::Error& error) {
    try {
      explain_out_of_memory(error, config, 7, experts_per_token);
    } catch (const OutOfMemoryError& explained) {
      return std::string(explained.what()) + " | " + explained.hint();
    }
    return "not explained";
  }
  return "an exabyte was there";
}

TEST(OutOfMemory, SaysTheStepTheExpertsAndTheKeysThatHelp) {
  const config::Config config =
      config_with({"model.moe.router.type=top_p", "train.micro_batch_size=8"});
  EXPECT_THAT(answer(config, 4.25),
              AllOf(HasSubstr("step 7 needs more memory"), HasSubstr("1152921504606846976"),
                    HasSubstr("4.25 experts each"), HasSubstr("train.micro_batch_size (now 8)"),
                    HasSubstr("train.recompute=true"), HasSubstr("model.moe.router.max_experts")));
}

TEST(OutOfMemory, NamesNoKeyThatCannotHelp) {
  const config::Config config =
      config_with({"model.moe.router={type: top_k, k: 2}", "train.micro_batch_size=1",
                   "train.global_batch_size=1", "train.recompute=true"});
  EXPECT_THAT(answer(config, 0.0),
              AllOf(HasSubstr("data.sequence_length"), Not(HasSubstr("micro_batch_size")),
                    Not(HasSubstr("recompute")), Not(HasSubstr("max_experts")),
                    Not(HasSubstr("experts each"))));
}

// Of a GPU: memory that LibTorch's allocator does not manage.
TEST(OutOfMemory, KnowsItByWordsWhereThereIsNoTypeOfError) {
  for (const char* words :
       {"CUDA driver error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"}) {
    EXPECT_THROW(
        explain_out_of_memory(c10::Error({"f", "f.cpp", 1}, words), config_with({}), 1, 1.0),
        OutOfMemoryError)
        << words;
  }
}

TEST(OutOfMemory, LeavesOtherErrorsAlone) {
  const c10::Error error({"f", "f.cpp", 1}, "shapes do not match");
  EXPECT_NO_THROW(explain_out_of_memory(error, config_with({}), 1, 1.0));
}

}  // namespace
}  // namespace switchyard::train
