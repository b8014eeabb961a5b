// `switchyard compare`: what distinguishes runs, and which of them is ahead at equal training
// tokens and at equal activated FLOPs. Reads run folders only; nothing is computed with the models.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/telemetry/read_metrics.h"

namespace switchyard::compare {

struct ComparedRun {
  std::string name;
  config::Config config;
  telemetry::Metrics metrics;
  std::string tokenizer;  // identifies the tokenizer; empty when it is not known
  // data::SampleSource::fingerprint of what it was trained on, as its newest checkpoint has it;
  // empty before the first one.
  std::string data_fingerprint;
  // The folders of its data in their order: absolute paths, where the run remembers them.
  std::vector<std::string> data_folders;
};

// Throws ConfigError, DataError or StorageError when the folder holds no run that has recorded a
// step. A run that is still going is read as far as it has come.
[[nodiscard]] ComparedRun read_compared_run(const std::filesystem::path& run);

// The run's tokenizer does not give the text of its validation split back.
[[nodiscard]] bool has_lossy_tokenizer(const ComparedRun& run);

// For people: that the runs have different data, or may have; empty when all have the same. Their
// fingerprints tell, where nothing else that is in them differs; else the folders.
[[nodiscard]] std::string note_on_data(std::span<const ComparedRun> runs);

// Training of one run as curves over the same points.
struct Progress {
  // One entry per step record.
  std::vector<double> tokens;             // trained on up to here
  std::vector<double> flops;              // activated FLOPs up to here, at the k of each window
  std::vector<double> lm_loss;            // mean over the window, nats per token
  std::vector<double> experts_per_token;  // 0 in a dense model
  // One entry per evaluation of the validation split.
  std::vector<double> evaluation_tokens;
  std::vector<double> evaluation_flops;
  std::vector<double> validation_loss;
  std::vector<double> bits_per_byte;  // NaN where the bytes are not known or not all kept
};
[[nodiscard]] Progress progress_of(const ComparedRun& run);

// What the curves and tables compare.
struct Figure {
  enum class Kind { kBitsPerByte, kValidationLoss, kTrainingLoss } kind;
  std::string name;    // "bits per byte (validation)"
  std::string reason;  // why this one, when it is not obvious; empty otherwise
  // False: the runs' numbers have different units, so none of them is the lowest.
  bool comparable = true;
};
// Validation loss; bits per byte when the tokenizers differ (losses per token then have different
// units); training loss when a run has no evaluation. With different tokenizers of which one loses
// bytes of the text, or a run without bits per byte, nothing is comparable.
[[nodiscard]] Figure figure_for(std::span<const ComparedRun> runs);

// y at x on the straight line between the neighbours of x; NaN outside of the range. `xs` ascends.
[[nodiscard]] double interpolated(std::span<const double> xs, std::span<const double> ys, double x);

}  // namespace switchyard::compare
