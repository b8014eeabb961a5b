#include "switchyard/moe/dispatcher.h"

#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/moe/moe_ffn.h"

namespace switchyard::moe {
namespace {

// Everything is here already: begin() only remembers, finish() computes.
class LocalDispatcher final : public Dispatcher {
 public:
  explicit LocalDispatcher(std::shared_ptr<ExpertCompute> compute) : compute_(std::move(compute)) {}

  [[nodiscard]] std::unique_ptr<Pending> begin(const at::Tensor& x_TH,
                                               const ops::Routing& routing) override {
    auto pending = std::make_unique<LocalPending>();
    pending->x_TH = x_TH;
    pending->routing = routing;
    return pending;
  }

  [[nodiscard]] at::Tensor finish(std::unique_ptr<Pending> pending,
                                  const ExpertWeights& weights) override {
    const auto* local = dynamic_cast<const LocalPending*>(pending.get());
    SWITCHYARD_CHECK(local != nullptr, "finish() got what another dispatcher began");
    return moe_ffn(local->x_TH, local->routing, weights.w1_E2FH, weights.w2_EHF, compute_,
                   weights.sink);
  }

 private:
  struct LocalPending final : Pending {
    at::Tensor x_TH;
    ops::Routing routing;
  };
  std::shared_ptr<ExpertCompute> compute_;
};

}  // namespace

std::unique_ptr<Dispatcher> make_local_dispatcher(std::shared_ptr<ExpertCompute> compute) {
  return std::make_unique<LocalDispatcher>(std::move(compute));
}

}  // namespace switchyard::moe
