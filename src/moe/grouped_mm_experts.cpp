// All experts in one grouped matrix product each, at::_grouped_mm.
#include <ATen/ops/_grouped_mm.h>

#include <optional>

#include "moe/expert_compute.h"
#include "moe/grouped_experts.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/gpu_facts.h"
#include "switchyard/ops/grouped_add.h"

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
    return problem.device.is_cuda() ? supports_on(ops::gpu_facts(problem.device), problem)
                                    : Support{};
  }

 private:
  static Support supports_on(const std::optional<ops::GpuFacts>& gpu,
                             const ExpertProblem& problem) {
    if (!ops::has_grouped_mm_kernel(problem.dtype, gpu)) {
      return {.slow_because = fmt::format(
                  "at::_grouped_mm has a kernel for bf16 on compute capability 9.x and 10.x only; "
                  "{}{} it is a loop over experts that makes the host wait before each product",
                  problem.dtype == at::kBFloat16 ? "bf16" : "fp32",
                  gpu ? fmt::format(" on {} ({}.{})", gpu->name, gpu->major, gpu->minor) : "")};
    }
    if (problem.num_experts > ops::kGroupedMmMaxGroups) {
      return {.ok = false,
              .why_not = fmt::format(
                  "at::_grouped_mm takes at most {} experts on a GPU, model.moe.num_experts is {}",
                  ops::kGroupedMmMaxGroups, problem.num_experts)};
    }
    return {};
  }

  [[nodiscard]] at::Tensor product(const at::Tensor& rows_NI, const at::Tensor& m, bool transposed,
                                   const ops::Routing& routing) override {
    count_wait(rows_NI);
    return at::_grouped_mm(rows_NI, transposed ? m.transpose(1, 2) : m, ends(routing));
  }

  void add_outer(const at::Tensor& sum_EIJ, const at::Tensor& a_NI, const at::Tensor& b_NJ,
                 const ops::Routing& routing) override {
    count_wait(a_NI);
    ops::grouped_add(sum_EIJ, at::_grouped_mm(a_NI.t(), b_NJ, ends(routing)), routing);
  }

  static void count_wait(const at::Tensor& operand) {
    if (!operand.is_cuda()) return;
    if (!ops::has_grouped_mm_kernel(operand.scalar_type(), ops::gpu_facts(operand.device()))) {
      ops::count_host_wait();
    }
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
