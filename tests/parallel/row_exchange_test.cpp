// The order in which an exchange in chunks begins, waits and computes.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/expert_scenes.h"
#include "switchyard/comm/forwarding.h"
#include "switchyard/comm/threads.h"
#include "switchyard/parallel/expert_parallel.h"

namespace switchyard::parallel {
namespace {

using testing::compute;
using testing::inputs_of;
using testing::kExperts;
using testing::loop;
using testing::scenes;
using testing::weights_of;

// Notes what one rank does, in order.
class NotedRanks final : public comm::Forwarding {
 public:
  NotedRanks(comm::Communicator& ranks, std::vector<std::string>& notes)
      : Forwarding(ranks), notes_(notes) {}
  [[nodiscard]] std::unique_ptr<comm::Work> begin(std::function<void()> collectives) override {
    notes_.emplace_back("begin");
    collectives();
    return std::make_unique<Noted>(notes_);
  }

 private:
  class Noted final : public comm::Work {
   public:
    explicit Noted(std::vector<std::string>& notes) : notes_(notes) {}
    void wait() override { notes_.emplace_back("wait"); }

   private:
    std::vector<std::string>& notes_;
  };
  std::vector<std::string>& notes_;
};

class NotedExperts final : public moe::ExpertCompute {
 public:
  explicit NotedExperts(std::vector<std::string>& notes) : notes_(notes) {}
  [[nodiscard]] std::string name() const override { return "noted"; }
  [[nodiscard]] moe::Support supports(const moe::ExpertProblem& /*problem*/) const override {
    return {};
  }
  [[nodiscard]] Forward forward(const at::Tensor& x_TH, const ops::Routing& routing,
                                const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF) override {
    notes_.emplace_back("experts");
    return loop_->forward(x_TH, routing, w1_E2FH, w2_EHF);
  }
  [[nodiscard]] Backward backward(const at::Tensor& dy_TH, const at::Tensor& x_TH,
                                  const at::Tensor& gate_up_N2F, const ops::Routing& routing,
                                  const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF,
                                  const moe::GradSink& sink) override {
    notes_.emplace_back("experts");
    return loop_->backward(dy_TH, x_TH, gate_up_N2F, routing, w1_E2FH, w2_EHF, sink);
  }

 private:
  std::vector<std::string>& notes_;
  std::shared_ptr<moe::ExpertCompute> loop_ = loop(at::kDouble);
};

// Forward and backward alike: all rows are on their way before the first are waited for, and the
// results of a chunk before the rows of the next are.
TEST(ExpertsInChunks, ComputeWhileOthersAreUnderWay) {
  const std::vector<std::string> one_way{"begin", "begin",   "wait",  "experts", "begin",
                                         "wait",  "experts", "begin", "wait",    "wait"};
  std::vector<std::string> twice = one_way;
  twice.insert(twice.end(), one_way.begin(), one_way.end());
  comm::run_ranks(2, [&](comm::Communicator& world) {
    std::vector<std::string> notes;
    NotedRanks noted(world, notes);
    RankGroups groups(noted, 2);
    const moe::ExpertPlacement placement = expert_placement(groups, kExperts, 2);
    const auto dispatcher =
        placement.make_dispatcher({.name = "layer",
                                   .num_experts = kExperts,
                                   .experts = *placement.experts,
                                   .compute = std::make_shared<NotedExperts>(notes)});
    (void)compute(*dispatcher, inputs_of(scenes()[0], world.rank(), at::kDouble),
                  weights_of(placement.experts->first, placement.experts->count, at::kDouble));
    EXPECT_EQ(notes, twice);
  });
}

}  // namespace
}  // namespace switchyard::parallel
