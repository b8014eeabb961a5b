#include "moe/expert_compute.h"

#include <array>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/ops/row_gather.h"

namespace switchyard::moe {
namespace {

struct Entry {
  const char* name;
  std::shared_ptr<ExpertCompute> (*make)();
};

// The loop takes everything, so `auto` always finds one.
constexpr std::array kImplementations{Entry{"loop", make_loop_experts},
                                      Entry{"grouped_mm", make_grouped_mm_experts},
                                      Entry{"cutlass", make_cutlass_experts}};

// On a CPU (moe_benchmark.cpp, two cores of a Zen 4, both busy with other work:
// processor time, not wall time) the loop took about two thirds of the grouped product's time in
// bf16; in fp32 they differed by less than the noise. On a GPU the loop would wait for the number
// of rows of each expert; the grouped product does not, where it is one kernel. CUTLASS must be
// asked for by name until it has been measured beside that (docs/benchmarks.md).
std::shared_ptr<ExpertCompute> make_auto(const ExpertProblem& problem) {
  if (problem.device.is_cuda()) {
    std::shared_ptr<ExpertCompute> grouped = make_grouped_mm_experts();
    const Support support = grouped->supports(problem);
    if (support.ok && support.slow_because.empty()) return grouped;
  }
  return make_loop_experts();
}

}  // namespace

std::vector<std::string> expert_compute_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kImplementations) names.emplace_back(entry.name);
  return names;
}

std::shared_ptr<ExpertCompute> make_expert_compute(const std::string& name,
                                                   const ExpertProblem& problem) {
  if (problem.device.is_meta()) return make_loop_experts();  // for sizes: nothing is computed
  if (name == "auto") return make_auto(problem);
  for (const Entry& entry : kImplementations) {
    if (name != entry.name) continue;
    std::shared_ptr<ExpertCompute> compute = entry.make();
    const Support support = compute->supports(problem);
    if (support.ok) return compute;
    throw UsageError(fmt::format("model.moe.compute: {} cannot run: {}", name, support.why_not),
                     "use model.moe.compute: auto");
  }
  throw UsageError(fmt::format("model.moe.compute: unknown '{}'", name),
                   "known: auto, " + join(expert_compute_names(), ", "));
}

at::Tensor add_up_results(const at::Tensor& y_NH, const ops::Routing& routing) {
  const bool are_weighted = !routing.rows_are_tokens();
  return ops::row_gather_sum(y_NH, are_weighted ? routing.row_weight_N : at::Tensor(), routing);
}

}  // namespace switchyard::moe
