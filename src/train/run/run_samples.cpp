#include "train/run/run_samples.h"

#include <exception>

#include "switchyard/core/error.h"

namespace switchyard::train {

bool RunSamples::make(const EvaluationOptions& options) {
  return keep(options.step, [&] { return task_.sample(options); });
}

bool RunSamples::make_together(const EvaluationOptions& options) {
  std::optional<std::string> text;
  std::exception_ptr failure;
  try {
    text = task_.sample(options);
  } catch (const NonFiniteError&) {
    failure = std::current_exception();
  }
  return keep(options.step, [&] {
    if (failure) std::rethrow_exception(failure);
    return text;
  });
}

bool RunSamples::keep(std::int64_t step, const Make& make) {
  bool is_whole = false;
  const bool worked = side_work_.attempt("sample", step, [&] {
    const std::optional<std::string> text = make();
    is_whole = text.has_value();
    if (is_whole) records_.sample(step, *text);
  });
  return worked && is_whole;
}

}  // namespace switchyard::train
