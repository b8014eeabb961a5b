// top_k: every token goes to its k most probable experts.
#include <cstdint>
#include <memory>
#include <utility>

#include "routing/linear_router.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::routing {
namespace {

class TopKRouter final : public LinearRouter {
 public:
  TopKRouter(const ops::TopKOptions& options, const RouterBuild& build)
      : LinearRouter(build, options.renormalize), options_(options) {}

  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    ops::RouteOutput output =
        ops::top_k_route(logits(input.x_TH), input.valid_T, input.sequence_offset_B1, options_);
    return {std::move(output.routing), std::move(output.sums)};
  }

 private:
  ops::TopKOptions options_;
};

}  // namespace

std::unique_ptr<Router> make_top_k(const config::RouterConfig& config, const RouterBuild& build) {
  const std::int64_t k = config.options.as<config::TopKOptions>().k;
  if (k < 1 || k > build.num_experts) {
    throw UsageError(fmt::format("model.moe.router.k must be in 1..{} (the experts), got {}",
                                 build.num_experts, k));
  }
  if (k == 1 && config.renormalize) {
    throw UsageError(
        "model.moe.router.renormalize cannot be true with k: 1: every weight would be the "
        "constant 1 and the router would get no gradient",
        "set model.moe.router.renormalize=false or k to 2 or more");
  }
  ops::TopKOptions options;
  options.k = k;
  options.renormalize = config.renormalize;
  return std::make_unique<TopKRouter>(options, build);
}

}  // namespace switchyard::routing
