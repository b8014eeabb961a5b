#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/plan/layout_plan.h"

namespace switchyard::plan {
namespace {

std::string bytes(double value) {
  return format_bytes(static_cast<std::uint64_t>(std::clamp(value, 0.0, 0x1p63)));
}

std::string seconds(double value) {
  return value < 1.0 ? fmt::format("{:.0f} ms", value * 1e3) : fmt::format("{:.2f} s", value);
}

}  // namespace

std::string layout_page(const Plan& plan, const std::vector<LayoutPlan>& layouts,
                        const LayoutOptions& options) {
  std::string text;
  const auto add = [&text](const std::string& line) { text += line + "\n"; };
  const Links& links = options.links;
  for (const LayoutPlan& layout : layouts) {
    text += "\n";
    std::string head =
        fmt::format("{:<38}", fmt::format("layout {}, of each rank", layout.layout.name()));
    for (const PlannedUse& use : plan.uses) head += fmt::format("{:>12}", use.experts.name);
    add(head);
    const auto row = [&](const std::string& label,
                         const std::function<std::string(const LayoutUse&)>& number) {
      std::string line = fmt::format("{:<38}", "  " + label);
      for (const LayoutUse& use : layout.uses) line += fmt::format("{:>12}", number(use));
      add(line);
    };
    row("weights, sums, its part of moments",
        [](const LayoutUse& use) { return bytes(use.state_bytes); });
    row(fmt::format("a micro-step of {}", plan.config.train.micro_batch_size),
        [](const LayoutUse& use) { return bytes(use.step_bytes); });
    if (layout.layout.expert > 1) {
      row("rows of other ranks", [](const LayoutUse& use) { return bytes(use.exchange_bytes); });
    }
    row("= memory (GPU)", [](const LayoutUse& use) { return bytes(use.memory_bytes()); });
    if (const std::optional<double> limit = plan.options.fits_bytes) {
      row(fmt::format("  within {}", bytes(*limit)), [limit](const LayoutUse& use) {
        return use.memory_bytes() <= *limit ? std::string("yes") : std::string("no");
      });
    }
    row("sent in a step: gradients",
        [](const LayoutUse& use) { return bytes(use.gradients_sent); });
    if (layout.layout.expert > 1) {
      row("sent in a step: rows", [](const LayoutUse& use) { return bytes(use.rows_sent); });
    }
    row("seconds of a step: computing",
        [](const LayoutUse& use) { return seconds(use.compute_seconds); });
    row("  gradients", [](const LayoutUse& use) { return seconds(use.gradient_seconds); });
    if (layout.layout.expert > 1) {
      row("  rows", [](const LayoutUse& use) { return seconds(use.row_seconds); });
    }
    row("  = all", [](const LayoutUse& use) { return seconds(use.seconds()); });
    row("tokens/s of all ranks", [&plan](const LayoutUse& use) {
      return format_count(plan.tokens_per_step / use.seconds());
    });
    add(fmt::format("  {} of {} sequences on each of {}", counted(layout.micro_steps, "micro-step"),
                    plan.config.train.micro_batch_size, counted(layout.layout.num_ranks, "rank")));
    if (!options.load_LE.empty() && layout.layout.expert > 1) {
      add(fmt::format("  rows of the fullest rank: {:.2f} of the mean, {:.2f} in MoE layer {}",
                      layout.imbalance.mean, layout.imbalance.worst, layout.imbalance.worst_layer));
    }
  }
  text += "\n";
  add(fmt::format(
      "  computed, not measured: {:.3g} % (--mfu) of {:.0f} TFLOP/s a rank; {:.0f} GB/s "
      "each way in a node of {},",
      100.0 * plan.options.flop_use, options.peak_flops / 1e12, links.in_node / 1e9,
      counted(links.ranks_per_node, "rank")));
  add(fmt::format("  {:.0f} GB/s between nodes; nothing overlaps{}.", links.between_nodes / 1e9,
                  options.load_LE.empty()
                      ? ", and every rank gets as many rows (--load RUN tells how it was)"
                      : ""));
  return text;
}

}  // namespace switchyard::plan
