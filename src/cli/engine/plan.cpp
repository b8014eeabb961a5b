// `switchyard plan`.
#include "switchyard/plan/plan.h"

#include "switchyard/plan/page.h"

#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include "cli/engine/verbs.h"
#include "switchyard/config/load.h"
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
  write_stdout(plan::plan_page(plan::make_plan(resolved.config, options)));
  return kExitDone;
}

}  // namespace switchyard::cli
