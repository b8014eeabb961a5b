#include "switchyard/compare/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <system_error>

#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/folder_name.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/text.h"
#include "switchyard/data/prepared_data.h"
#include "switchyard/model/throughput.h"
#include "train/run/training_state.h"

namespace switchyard::compare {
namespace {

namespace fs = std::filesystem;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The newest checkpoint has the tokenizer itself; before the first one, the data names it.
std::string tokenizer_of(const fs::path& run, const config::Config& config) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& step : fs::directory_iterator(run / config::kCheckpointsFolderName, error)) {
    for (const char* name : {"tokenizer.model", "tokenizer.json"}) {
      if (fs::is_regular_file(step.path() / name, error)) files.push_back(step.path() / name);
    }
  }
  if (!files.empty()) return xxh3_of_file(*std::max_element(files.begin(), files.end()));
  config::DataConfig place = config.data;
  config::find_moved_data(place, run);
  const fs::path sidecar = config::data_set_file(place.path, data::kSidecarName);
  if (place.path.empty() || !fs::is_regular_file(sidecar, error)) return {};
  try {
    return data::parse_sidecar(read_file(sidecar), sidecar.string()).tokenizer_hash;
  } catch (const Error&) {
    return {};  // the data is not what is compared
  }
}

std::string data_fingerprint_of(const fs::path& run) {
  const fs::path step = config::named_checkpoint(run, "latest");
  if (step.empty()) return {};
  const fs::path file = step / "training_state.json";
  try {
    return train::parse_training_state(read_file(file), file.string()).data_fingerprint;
  } catch (const Error&) {
    return {};  // the folders have to do
  }
}

std::vector<std::string> data_folders_of(const fs::path& run, const config::DataConfig& data) {
  std::vector<std::string> folders = config::data_folders_in(data);
  for (std::string& folder : folders) {
    const std::vector<fs::path> places = config::remembered_places(folder, run);
    if (!places.empty()) folder = places.front().string();
  }
  return folders;
}

// Do fingerprints that differ tell of different data? They are of more than that.
bool fingerprints_tell(const ComparedRun& a, const ComparedRun& b) {
  const auto weights = [](const config::DataConfig& data) {
    std::vector<double> result;
    for (const config::BlendItem& item : data.blend) result.push_back(item.weight);
    return result;
  };
  return !a.data_fingerprint.empty() && !b.data_fingerprint.empty() && a.tokenizer == b.tokenizer &&
         a.config.run.seed == b.config.run.seed &&
         a.config.model.is_causal() == b.config.model.is_causal() &&
         a.config.data.sequence_length == b.config.data.sequence_length &&
         weights(a.config.data) == weights(b.config.data);
}

bool has_evaluation(const ComparedRun& run) {
  return !run.metrics.evaluations.empty();
}

bool has_bits_per_byte(const ComparedRun& run) {
  return std::any_of(run.metrics.evaluations.begin(), run.metrics.evaluations.end(),
                     [](const auto& record) { return record.bits_per_byte.has_value(); });
}

// "'a', 'b'"
std::string names_of_lossy(std::span<const ComparedRun> runs) {
  std::vector<std::string> names;
  for (const ComparedRun& run : runs) {
    if (has_lossy_tokenizer(run)) names.push_back(fmt::format("'{}'", printable(run.name)));
  }
  return join(names, ", ");
}

}  // namespace

bool has_lossy_tokenizer(const ComparedRun& run) {
  return std::any_of(run.metrics.evaluations.begin(), run.metrics.evaluations.end(),
                     &telemetry::is_lossy);
}

ComparedRun read_compared_run(const fs::path& run) {
  ComparedRun result;
  result.name = name_of_folder(run);
  result.config = config::load(run / config::kResolvedConfigName, {}).config;
  const fs::path metrics = run / "metrics.jsonl";
  result.metrics = telemetry::read_metrics(metrics);
  if (result.metrics.steps.empty()) {
    throw DataError(fmt::format("{}: no step is recorded yet", metrics.string()));
  }
  result.tokenizer = tokenizer_of(run, result.config);
  result.data_fingerprint = data_fingerprint_of(run);
  result.data_folders = data_folders_of(run, result.config.data);
  return result;
}

std::string note_on_data(std::span<const ComparedRun> runs) {
  bool is_named_otherwise = false;
  for (const ComparedRun& run : runs) {
    const ComparedRun& first = runs.front();
    if (!run.data_fingerprint.empty() && run.data_fingerprint == first.data_fingerprint) continue;
    if (fingerprints_tell(first, run)) {
      return "The runs were trained on different data, by the fingerprints in their checkpoints: "
             "each is judged on its own validation split.";
    }
    if (run.data_folders != first.data_folders) is_named_otherwise = true;
  }
  if (!is_named_otherwise) return {};
  return "The runs name different data: each is judged on its own validation split, unless the "
         "folders hold the same text.";
}

Progress progress_of(const ComparedRun& run) {
  const model::TrainingFlops flops = model::pretraining_flops(run.config);
  Progress progress;
  // From the origin, so that an evaluation before the first record has a place.
  std::vector<double> steps{0.0};
  std::vector<double> tokens_at_step{0.0};
  std::vector<double> flops_at_step{0.0};
  for (const telemetry::StepRecord& record : run.metrics.steps) {
    const double k = record.routing ? record.routing->experts_per_token : 0.0;
    const auto tokens = static_cast<double>(record.tokens);
    const double window = std::max(0.0, tokens - tokens_at_step.back());
    steps.push_back(static_cast<double>(record.step));
    flops_at_step.push_back(flops_at_step.back() +
                            window * flops.per_token(std::isfinite(k) ? k : 0.0));
    tokens_at_step.push_back(tokens);
    progress.lm_loss.push_back(record.lm_loss);
    progress.experts_per_token.push_back(k);
  }
  progress.tokens.assign(tokens_at_step.begin() + 1, tokens_at_step.end());
  progress.flops.assign(flops_at_step.begin() + 1, flops_at_step.end());
  for (const telemetry::EvaluationRecord& record : run.metrics.evaluations) {
    const auto step = static_cast<double>(record.step);
    const double tokens = interpolated(steps, tokens_at_step, step);
    if (std::isnan(tokens)) continue;  // of a step whose record is missing
    progress.evaluation_tokens.push_back(tokens);
    progress.evaluation_flops.push_back(interpolated(steps, flops_at_step, step));
    progress.validation_loss.push_back(record.loss);
    progress.bits_per_byte.push_back(record.bits_per_byte.value_or(kNan));
  }
  return progress;
}

Figure figure_for(std::span<const ComparedRun> runs) {
  const bool evaluated = std::all_of(runs.begin(), runs.end(), has_evaluation);
  const bool bytes_known = std::all_of(runs.begin(), runs.end(), has_bits_per_byte);
  const bool same_tokenizer = std::all_of(runs.begin(), runs.end(), [&](const ComparedRun& run) {
    return !run.tokenizer.empty() && run.tokenizer == runs.front().tokenizer;
  });
  const bool unknown = std::any_of(runs.begin(), runs.end(),
                                   [](const ComparedRun& run) { return run.tokenizer.empty(); });
  const std::string why =
      unknown ? "The tokenizer of a run is not known" : "The runs have different tokenizers";
  if (!same_tokenizer && bytes_known) {
    return {Figure::Kind::kBitsPerByte, "bits per byte (validation)",
            why + ", so losses per token cannot be compared: bits per byte can.", true};
  }
  std::string reason;
  if (!same_tokenizer) {
    const std::string lossy = names_of_lossy(runs);
    reason = fmt::format(
        "{}, and {}: the losses below are per token of each run and do NOT compare.", why,
        lossy.empty() ? "not every run knows its bits per byte"
                      : "bits per byte mean nothing where the tokenizer loses "
                        "parts of the text (" +
                            lossy + ")");
  }
  if (evaluated) {
    return {Figure::Kind::kValidationLoss, "validation loss (nats per token)", reason,
            same_tokenizer};
  }
  return {Figure::Kind::kTrainingLoss, "training loss (nats per token)",
          reason + (reason.empty() ? "" : " ") + "Not every run has evaluated.", same_tokenizer};
}

double interpolated(std::span<const double> xs, std::span<const double> ys, double x) {
  const auto above = std::lower_bound(xs.begin(), xs.end(), x);
  if (above == xs.end()) return kNan;
  const auto i = static_cast<std::size_t>(above - xs.begin());
  if (xs[i] == x) return ys[i];
  if (i == 0) return kNan;
  const double share = (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
  return ys[i - 1] + share * (ys[i] - ys[i - 1]);
}

}  // namespace switchyard::compare
