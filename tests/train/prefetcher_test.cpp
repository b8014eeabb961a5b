#include "train/prefetcher.h"

#include <gmock/gmock.h>

#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace switchyard::train {
namespace {

using ::testing::ElementsAre;

// Batches that say which windows they are of.
class Source {
 public:
  [[nodiscard]] Prefetcher prefetcher(bool ahead) {
    return {[this](std::int64_t first) { return make(first); }, /*windows_per_step=*/8, ahead};
  }
  [[nodiscard]] std::vector<std::int64_t> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  std::int64_t broken_window = -1;

 private:
  std::vector<model::MicroBatch> make(std::int64_t first) {
    const std::lock_guard lock(mutex_);
    asked_.push_back(first);
    if (first == broken_window) throw std::runtime_error("window " + std::to_string(first));
    std::vector<model::MicroBatch> batches(1);
    batches[0].num_tokens = first;
    return batches;
  }
  std::mutex mutex_;
  std::vector<std::int64_t> asked_;
};

std::int64_t taken(Prefetcher& prefetcher, std::int64_t first) {
  return prefetcher.take(first).at(0).num_tokens;
}

TEST(Prefetcher, AsksOneStepAheadAndForNothingTwice) {
  Source source;
  {
    Prefetcher prefetcher = source.prefetcher(true);
    for (const std::int64_t first : {16, 24, 32}) EXPECT_EQ(taken(prefetcher, first), first);
  }  // waits for the thread
  EXPECT_THAT(source.asked(), ElementsAre(16, 24, 32, 40));
}

TEST(Prefetcher, AsksForNothingAheadUnlessToldTo) {
  Source source;
  Prefetcher prefetcher = source.prefetcher(false);
  for (const std::int64_t first : {0, 8}) EXPECT_EQ(taken(prefetcher, first), first);
  EXPECT_THAT(source.asked(), ElementsAre(0, 8));
}

TEST(Prefetcher, GivesWhatIsAskedForAfterAJump) {
  Source source;
  Prefetcher prefetcher = source.prefetcher(true);
  for (const std::int64_t first : {0, 800, 8, 16}) EXPECT_EQ(taken(prefetcher, first), first);
}

TEST(Prefetcher, ThrowsAtTheStepWhoseDataIsBroken) {
  Source source;
  source.broken_window = 8;
  Prefetcher prefetcher = source.prefetcher(true);
  EXPECT_EQ(taken(prefetcher, 0), 0);
  EXPECT_THROW((void)prefetcher.take(8), std::runtime_error);
  EXPECT_THROW((void)prefetcher.take(8), std::runtime_error);  // still broken
  EXPECT_EQ(taken(prefetcher, 16), 16);
}

}  // namespace
}  // namespace switchyard::train
