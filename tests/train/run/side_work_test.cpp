#include "train/run/side_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace switchyard::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SideWork, WhatFailsAtEveryStepIsToldEverMoreSeldomAndWhenItWorksAgain) {
  SideWork work;
  ::testing::internal::CaptureStderr();
  for (std::int64_t step = 1; step <= 100; ++step) {
    EXPECT_FALSE(work.attempt("sample", step, [] { throw std::runtime_error("no room"); }));
  }
  const std::string told = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(told, AllOf(HasSubstr("step 1: sample failed (1 time so far): no room"),
                          HasSubstr("(2 times so far)"), Not(HasSubstr("(3 times")),
                          HasSubstr("(64 times so far)"), Not(HasSubstr("(100 times"))));
  EXPECT_THROW(work.check_last(), std::runtime_error);

  ::testing::internal::CaptureStderr();
  for (std::int64_t step = 101; step <= 102; ++step) {
    EXPECT_TRUE(work.attempt("sample", step, [] {}));
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("step 101: sample works again, after 100 failures"),
                    Not(HasSubstr("step 102"))));
  EXPECT_NO_THROW(work.check_last());
}

}  // namespace
}  // namespace switchyard::train
