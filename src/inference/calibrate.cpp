#include "switchyard/inference/calibrate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "inference/split_passes.h"
#include "switchyard/core/error.h"

namespace switchyard::inference {
namespace {

constexpr double kStepsPerOctave = 6.0;
constexpr int kStepsBelowOne = 6;

// log(temperature) in steps: 0 is the first that is tried.
double temperature_at(double step) {
  return std::exp2((step - kStepsBelowOne) / kStepsPerOctave);
}

}  // namespace

const std::array<double, 16>& tried_temperatures() {
  static const std::array<double, 16> tried = [] {
    std::array<double, 16> list = {};
    for (std::size_t i = 0; i < list.size(); ++i) list[i] = temperature_at(static_cast<double>(i));
    return list;
  }();
  return tried;
}

std::optional<double> best_temperature(std::span<const double> loss) {
  SWITCHYARD_CHECK(loss.size() == tried_temperatures().size(), "{} losses of {} temperatures",
                   loss.size(), tried_temperatures().size());
  if (!std::all_of(loss.begin(), loss.end(), [](double l) { return std::isfinite(l); })) {
    return std::nullopt;
  }
  auto best = std::min_element(loss.begin(), loss.end());
  if (*best == loss[kStepsBelowOne]) best = loss.begin() + kStepsBelowOne;
  const auto idx = static_cast<double>(best - loss.begin());
  if (best == loss.begin() || best + 1 == loss.end()) return temperature_at(idx);
  const double rise = best[1] - best[-1];
  const double bend = best[-1] - 2.0 * *best + best[1];
  return temperature_at(bend > 0.0 ? idx - 0.5 * rise / bend : idx);
}

std::optional<double> fit_temperature(model::Decoder& decoder, const data::SampleSource& split,
                                      const ValidationOptions& options) {
  const at::NoGradGuard no_grad;
  const SplitPasses passes(split, options);
  const auto num_tried = std::ssize(tried_temperatures());
  const auto sums =
      compute_passes(passes.shared(num_tried), [&](std::int64_t pass, std::span<double> row) {
        const model::Batch batch = to_device(passes.batch(pass), decoder.device());
        const model::TrunkOutput output = decoder.forward(batch, {.step = options.step});
        std::vector<at::Tensor> nats;
        for (const double temperature : tried_temperatures()) {
          nats.push_back(decoder.head()
                             .loss_per_token_at(temperature, output.hidden_TH, batch.label_T)
                             .sum(at::kDouble));
        }
        const at::Tensor on_host = at::stack(nats).to(at::kCPU);  // one wait for the device
        std::copy_n(on_host.const_data_ptr<double>(), num_tried, row.begin());
      });
  if (!sums.has_value()) return std::nullopt;
  // In the order of passes, whoever computed them.
  std::vector<double> nats(tried_temperatures().size());
  for (std::int64_t pass = 0; pass < sums->size(0); ++pass) {
    const auto* row = (*sums)[pass].const_data_ptr<double>();
    for (std::size_t i = 0; i < nats.size(); ++i) nats[i] += row[i];
  }
  const std::optional<double> best = best_temperature(nats);
  if (!best.has_value()) {
    throw NonFiniteError("the validation loss is not finite: there is no temperature to fit",
                         "these weights give no sound output");
  }
  return best;
}

}  // namespace switchyard::inference
