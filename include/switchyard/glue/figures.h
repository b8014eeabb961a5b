// What results.json holds of each task: the figures of all seeds, what they cost, and under which
// conditions they were found, so that others can be compared with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace switchyard::glue {

inline constexpr const char* kTableName = "results.json";

// What figures depend on beside the model, its settings and the seeds.
struct Conditions {
  std::string dev_rows{};       // content_hash() of all dev files
  std::string training_rows{};  // and of the rows that were trained on
  std::int64_t num_train_rows = 0;
  std::int64_t max_length = 0;  // tokens of a row
  double epochs = 0.0;
  std::string pooling{};       // of versions that did not note it empty: not "pair"
  std::int64_t num_rates = 1;  // learning rates of which dev chose the best
  bool operator==(const Conditions&) const = default;
};

// Of one seed's training.
struct TrainingCost {
  std::int64_t tokens = 0;
  double flops = 0.0;  // activated, forward and backward, at the experts that tokens got
  bool operator==(const TrainingCost&) const = default;
};

struct SeedFigures {
  std::uint64_t seed = 0;
  bool diverged = false;                       // then it has no metrics
  std::optional<TrainingCost> cost = {};       // none of runs of versions that did not note it
  std::map<std::string, double> metrics = {};  // by key, "accuracy_mm"; may be NaN
};

struct TaskFigures {
  std::string task{};  // its name
  Conditions conditions = {};
  std::vector<SeedFigures> seeds = {};

  [[nodiscard]] std::int64_t num_diverged() const;
  // Of the seeds that did not diverge; NaN without any, or where one is.
  [[nodiscard]] double median(const std::string& key) const;
};

// results.json of a finetune's output folder, in its order. Throws UsageError when there is none
// yet, DataError naming the file when it is damaged or of a version that did not note conditions.
[[nodiscard]] std::vector<TaskFigures> read_figures(const std::filesystem::path& output);

// Conditions, or seeds, that two of one task do not share: "training rows", "2000", "4000". Other
// dev rows are among them, whatever their number: then nothing can be compared.
struct Difference {
  std::string what;
  std::string left;
  std::string right;
};
[[nodiscard]] std::vector<Difference> differences(const TaskFigures& left,
                                                  const TaskFigures& right);
[[nodiscard]] bool are_judged_alike(const TaskFigures& left, const TaskFigures& right);

}  // namespace switchyard::glue
