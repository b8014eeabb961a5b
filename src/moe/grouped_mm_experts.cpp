// All experts in one grouped matrix product each, at::_grouped_mm.
#include <ATen/ops/_grouped_mm.h>

#include "moe/expert_compute.h"
#include "moe/grouped_experts.h"
#include "switchyard/core/error.h"

namespace switchyard::moe {
namespace {

class GroupedMmExperts final : public GroupedExperts {
 public:
  [[nodiscard]] std::string name() const override { return "grouped_mm"; }

  // The operator wants every stride to be a multiple of 16 bytes.
  [[nodiscard]] Support supports(const ExpertProblem& problem) const override {
    if (problem.dtype != at::kFloat && problem.dtype != at::kBFloat16) {
      return {.ok = false,
              .why_not = fmt::format("at::_grouped_mm takes fp32 and bf16, not {}",
                                     at::toString(problem.dtype))};
    }
    const std::int64_t multiple = problem.dtype == at::kFloat ? 4 : 8;
    if (problem.hidden_size % multiple != 0 || problem.expert_size % multiple != 0) {
      return {.ok = false,
              .why_not = fmt::format("at::_grouped_mm needs model.hidden_size ({}) and "
                                     "model.moe.expert_size ({}) to be multiples of {}",
                                     problem.hidden_size, problem.expert_size, multiple)};
    }
    return {};
  }

 private:
  [[nodiscard]] at::Tensor product(const at::Tensor& rows_NI, const at::Tensor& m, bool transposed,
                                   const ops::Routing& routing) override {
    return at::_grouped_mm(rows_NI, transposed ? m.transpose(1, 2) : m, ends(routing));
  }

  void add_outer(const at::Tensor& sum_EIJ, const at::Tensor& a_NI, const at::Tensor& b_NJ,
                 const ops::Routing& routing) override {
    at::Tensor sum = sum_EIJ;
    sum.add_(at::_grouped_mm(a_NI.t(), b_NJ, ends(routing)));
  }

  static at::Tensor ends(const ops::Routing& routing) {
    return routing.expert_offset_E1.narrow(0, 1, routing.num_experts);
  }
};

}  // namespace

std::shared_ptr<ExpertCompute> make_grouped_mm_experts() {
  return std::make_shared<GroupedMmExperts>();
}

}  // namespace switchyard::moe
