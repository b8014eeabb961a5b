#include "switchyard/telemetry/step_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>

#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::telemetry {
namespace {

std::string percent(double share) {
  return fmt::format("{:>4}", format_fixed(share * 100.0, 0) + "%");
}

std::string loss_part(const StepRecord& record, std::string_view loss_name) {
  std::string text = fmt::format("loss {:>6} {} {:>6}", format_fixed(record.loss, 3), loss_name,
                                 format_fixed(record.lm_loss, 3));
  if (!record.routing.has_value()) return text;
  text += fmt::format(" bal {} dyn {}", format_fixed(record.weighted.load_balance, 3),
                      format_fixed(record.weighted.dynamic, 4));
  if (record.weighted.l1 != 0.0) text += " l1 " + format_fixed(record.weighted.l1, 4);
  if (record.weighted.z != 0.0) text += " z " + format_fixed(record.weighted.z, 4);
  return text;
}

std::string speed_part(const StepRecord& record, bool mfu_of_data_sheet) {
  return fmt::format("{:>5} tok/s mfu {}{} mem {:>5}", format_count(record.tokens_per_second),
                     record.mfu.has_value() ? percent(*record.mfu) : "   ?",
                     record.mfu.has_value() && mfu_of_data_sheet ? " of spec" : "",
                     format_bytes(record.memory_bytes));
}

std::string routing_part(const RoutingRecord& routing) {
  std::string gauges;
  for (const auto& [name, value] : routing.gauges) {
    const bool is_small = value != 0.0 && std::abs(value) < 1e-3;
    gauges += fmt::format("{} {} ", name,
                          is_small ? fmt::format("{:.1e}", value) : format_fixed(value, 3));
  }
  return fmt::format("k {} [{}-{}] {}H {} vio {} dead {}",
                     format_fixed(routing.experts_per_token, 2), routing.experts_per_token_p5,
                     routing.experts_per_token_p95, gauges, format_fixed(routing.router_entropy, 2),
                     format_fixed(routing.max_violation, 2), percent(routing.dead_fraction));
}

// 0 when unknown.
std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

}  // namespace

std::string format_step_line(const StepRecord& record, const Progress& progress) {
  const std::string total = std::to_string(progress.total_steps);
  const double done = static_cast<double>(record.step) / static_cast<double>(progress.total_steps);
  std::string line = fmt::format(
      "step {:>{}}/{} {} | {} | lr {:.1e} gnorm {:>5} | {}", record.step, total.size(), total,
      percent(done), loss_part(record, progress.loss_name), record.learning_rate,
      format_fixed(record.grad_norm, 2), speed_part(record, progress.mfu_of_data_sheet));
  if (record.routing.has_value()) line += " | " + routing_part(*record.routing);
  return line + fmt::format(" | skip {} | eta {}", record.skipped_steps,
                            format_duration(progress.eta_seconds));
}

StepLinePrinter::StepLinePrinter() : in_place_(stderr_is_terminal()) {}

void StepLinePrinter::print(const std::string& line) {
  // A line that wraps cannot be redrawn.
  if (in_place_ && terminal_columns() > line.size()) {
    log::write_to_file(line);
    draw_status_line(line);
  } else {
    log::write_info(line);
  }
}

std::string BestTracker::judge(std::int64_t step, double loss, bool is_negated) {
  if (std::isfinite(loss) && (!has_best() || loss < state_.loss)) {
    state_.loss = loss;
    state_.step = step;
    state_.num_without_improvement = 0;
    return "new best";
  }
  ++state_.num_without_improvement;
  const std::string count =
      "no improvement for " + counted(state_.num_without_improvement, "evaluation");
  if (!has_best()) return count;
  return fmt::format("{} (best {:.4g} at step {})", count, is_negated ? -state_.loss : state_.loss,
                     state_.step);
}

std::string format_evaluation_line(const EvaluationRecord& record, const std::string& verdict) {
  std::string line =
      fmt::format("step {} {}: loss {}", record.step, record.split, format_fixed(record.loss, 4));
  if (record.temperature.has_value()) {
    line += " at temperature " + format_fixed(*record.temperature, 3);
  }
  if (record.perplexity.has_value()) line += " perplexity " + format_fixed(*record.perplexity, 2);
  for (const auto& [name, value] : record.metrics) {
    line += fmt::format(" {} {}", name, format_fixed(value, 4));
  }
  if (record.bits_per_byte.has_value()) {
    line += " bits per byte " + format_fixed(*record.bits_per_byte, 4);
  } else if (is_lossy(record)) {
    line += " no bits per byte (lossy tokenizer)";
  }
  if (record.experts_per_token.has_value()) {
    line += " k " + format_fixed(*record.experts_per_token, 2);
  }
  return verdict.empty() ? line : line + " | " + verdict;
}

}  // namespace switchyard::telemetry
