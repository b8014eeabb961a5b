// `switchyard plan`.
#include "switchyard/plan/plan.h"

#include "switchyard/plan/layout_plan.h"
#include "switchyard/plan/page.h"

#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <string>

#include "cli/engine/verbs.h"
#include "switchyard/config/load.h"
#include "switchyard/config/ranks.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/host.h"
#include "switchyard/core/terminal.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/peak_flops.h"
#include "switchyard/ops/precision.h"

namespace switchyard::cli {

namespace {

// With what libraries set up when they first multiply.
std::uint64_t measure_program(at::ScalarType compute) {
  const at::Tensor square = at::ones({256, 256}, compute);
  (void)square.mm(square);
  return resident_bytes();
}

plan::LayoutOptions layout_options(const config::ParsedArguments& arguments) {
  constexpr std::int64_t kMostRanks = 1 << 20;
  plan::LayoutOptions options{
      .layouts = config::parse_layouts(arguments.text("--layout"), "--layout", kMostRanks),
      .links = {.ranks_per_node = arguments.integer("--ranks-per-node"),
                .in_node = 1e9 * arguments.number("--node-bandwidth"),
                .between_nodes = 1e9 * arguments.number("--network-bandwidth")},
      .peak_flops = 1e12 * arguments.number("--rank-tflops")};
  if (arguments.has("--load")) options.load_LE = plan::shares_of_run(arguments.text("--load"));
  return options;
}

}  // namespace

int run_plan(const config::ParsedArguments& arguments) {
  const config::Resolved resolved =
      config::load(arguments.text("CONFIG.yaml"), arguments.overrides());
  plan::PlanOptions options{.flop_use = arguments.number("--mfu"),
                            .num_threads = at::get_num_threads()};
  if (arguments.has("--experts-per-token")) {
    options.experts_per_token = arguments.number("--experts-per-token");
  }
  if (arguments.has("--tokens-per-second")) {
    options.tokens_per_second = arguments.number("--tokens-per-second");
  }
  if (arguments.has("--fits")) {
    options.fits_bytes = static_cast<double>(arguments.bytes("--fits"));
  }
  const at::ScalarType compute = ops::precision_policy(resolved.config.train.precision).compute;
  options.program_bytes = static_cast<double>(measure_program(compute));
  if (arguments.has("--measure")) {
    const ops::PeakFlops peak =
        ops::peak_flops(compute, ops::device_of(resolved.config.train.device));
    options.peak_flops = peak.per_second;
    options.peak_source = peak.source;
  }
  const plan::Plan plan = plan::make_plan(resolved.config, options);
  std::string page = plan::plan_page(plan);
  if (arguments.has("--layout")) {
    const plan::LayoutOptions layouts = layout_options(arguments);
    page += plan::layout_page(plan, plan::plan_layouts(plan, layouts), layouts);
  }
  write_stdout(page);
  return kExitDone;
}

}  // namespace switchyard::cli
