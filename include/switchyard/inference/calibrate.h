// How sure a model says it is, set right by one number (Guo et al., "On Calibration of Modern
// Neural Networks", 2017): its logits are divided by the temperature at which text that it was not
// trained on is the most likely. A model that has seen its text many times is too sure of
// itself: 1.2 or so gives it back much of what that costs. The order of its predictions stays as it
// is.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "switchyard/data/sample_source.h"
#include "switchyard/inference/evaluate.h"
#include "switchyard/model/decoder.h"

namespace switchyard::inference {

// A sixth of an octave apart, 0.5 to 2.83.
[[nodiscard]] const std::array<double, 16>& tried_temperatures();

// Of as many losses as temperatures are tried, where the least is: between them, by the parabola
// through the best one and its neighbours over log(temperature). The first or last temperature
// where that is the best; none where one of the losses is not finite.
[[nodiscard]] std::optional<double> best_temperature(std::span<const double> loss);

// The best one for the windows of the split (one pass over them, with a loss for every temperature
// that is tried), whatever the temperature that the decoder's head has; all ranks get the same.
// None when should_stop said so. Throws NonFiniteError, on all ranks alike.
[[nodiscard]] std::optional<double> fit_temperature(model::Decoder& decoder,
                                                    const data::SampleSource& split,
                                                    const ValidationOptions& options);

}  // namespace switchyard::inference
