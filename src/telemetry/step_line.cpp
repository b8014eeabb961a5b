#include "switchyard/telemetry/step_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>

#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"

namespace switchyard::telemetry {
namespace {

std::string percent(double share) {
  return fmt::format("{:>4}", fmt::format("{:.0f}%", share * 100.0));
}

std::string loss_part(const StepRecord& record, std::string_view loss_name) {
  std::string text = fmt::format("loss {:6.3f} {} {:6.3f}", record.loss, loss_name, record.lm_loss);
  if (!record.routing.has_value()) return text;
  text +=
      fmt::format(" bal {:.3f} dyn {:.4f}", record.weighted.load_balance, record.weighted.dynamic);
  if (record.weighted.z != 0.0) text += fmt::format(" z {:.4f}", record.weighted.z);
  return text;
}

std::string speed_part(const StepRecord& record) {
  return fmt::format("{:>5} tok/s mfu {} mem {:>5}", format_count(record.tokens_per_second),
                     record.mfu.has_value() ? percent(*record.mfu) : "   ?",
                     format_bytes(record.memory_bytes));
}

std::string routing_part(const RoutingRecord& routing) {
  return fmt::format("k {:.2f} [{}-{}] H {:.2f} vio {:.2f} dead {}", routing.experts_per_token,
                     routing.experts_per_token_p5, routing.experts_per_token_p95,
                     routing.router_entropy, routing.max_violation, percent(routing.dead_fraction));
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
  std::string line =
      fmt::format("step {:>{}}/{} {} | {} | lr {:.1e} gnorm {:5.2f} | {}", record.step,
                  total.size(), total, percent(done), loss_part(record, progress.loss_name),
                  record.learning_rate, record.grad_norm, speed_part(record));
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

std::string BestTracker::judge(std::int64_t step, double loss) {
  if (std::isfinite(loss) && (!has_best() || loss < state_.loss)) {
    state_.loss = loss;
    state_.step = step;
    state_.num_without_improvement = 0;
    return "new best";
  }
  ++state_.num_without_improvement;
  const std::string count =
      fmt::format("no improvement for {} evaluation{}", state_.num_without_improvement,
                  state_.num_without_improvement == 1 ? "" : "s");
  return has_best() ? fmt::format("{} (best {:.4g} at step {})", count, state_.loss, state_.step)
                    : count;
}

std::string format_evaluation_line(const EvaluationRecord& record, const std::string& verdict) {
  std::string line = fmt::format("step {} {}: loss {:.4f}", record.step, record.split, record.loss);
  if (record.perplexity.has_value()) line += fmt::format(" perplexity {:.2f}", *record.perplexity);
  for (const auto& [name, value] : record.metrics) line += fmt::format(" {} {:.4f}", name, value);
  if (record.bits_per_byte.has_value()) {
    line += fmt::format(" bits per byte {:.4f}", *record.bits_per_byte);
  }
  if (record.experts_per_token.has_value()) {
    line += fmt::format(" k {:.2f}", *record.experts_per_token);
  }
  return verdict.empty() ? line : line + " | " + verdict;
}

}  // namespace switchyard::telemetry
