// All experts in one CUTLASS product each. Weight gradients are added up in fp32, never rounded.
#include "moe/expert_compute.h"
#include "moe/grouped_experts.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/grouped_gemm.h"

namespace switchyard::moe {
namespace {

class CutlassExperts final : public GroupedExperts {
 public:
  [[nodiscard]] std::string name() const override { return "cutlass"; }

  [[nodiscard]] Support supports(const ExpertProblem& problem) const override {
    if (!ops::has_grouped_gemm(problem.device)) {
      return {.ok = false,
              .why_not =
                  "it needs a build with -DSWITCHYARD_CUTLASS=ON and a GPU of compute "
                  "capability 9.0 (H100, H200)"};
    }
    if (problem.dtype != at::kBFloat16) {
      return {.ok = false,
              .why_not = fmt::format("it takes bf16, not {}", at::toString(problem.dtype))};
    }
    if (problem.hidden_size % 8 != 0 || problem.expert_size % 8 != 0) {
      return {.ok = false,
              .why_not = fmt::format("it needs model.hidden_size ({}) and model.moe.expert_size "
                                     "({}) to be multiples of 8",
                                     problem.hidden_size, problem.expert_size)};
    }
    return {};
  }

 private:
  [[nodiscard]] at::Tensor product(const at::Tensor& rows_NI, const at::Tensor& m, bool transposed,
                                   const ops::Routing& routing) override {
    return ops::grouped_rows(rows_NI, m, transposed, routing);
  }
  void add_outer(const at::Tensor& sum_EIJ, const at::Tensor& a_NI, const at::Tensor& b_NJ,
                 const ops::Routing& routing) override {
    ops::add_grouped_outer(sum_EIJ, a_NI, b_NJ, routing);
  }
};

}  // namespace

std::shared_ptr<ExpertCompute> make_cutlass_experts() {
  return std::make_shared<CutlassExperts>();
}

}  // namespace switchyard::moe
