// The folder that `finetune --output` names, told from its files.
#pragma once

#include <array>
#include <filesystem>
#include <string_view>

namespace switchyard::config {

inline constexpr const char* kFinetuneName = "finetune.json";
inline constexpr const char* kSubmissionFolderName = "submission";
// In the run of one seed, once it is finished.
inline constexpr const char* kSeedResultsName = "eval_results.json";
inline constexpr const char* kPredictionsPrefix = "predictions";  // predictions.tsv, and others
// All files that a finetune keeps in the folder itself.
inline constexpr std::array<std::string_view, 5> kFinetuneFiles = {
    kFinetuneName, "results.md", "results.json", "report.html", "log.txt"};

// Finished or not.
[[nodiscard]] bool holds_finetune(const std::filesystem::path& folder);
// The output of finetune that a run is a seed of; empty when it is none, or was moved out of it.
[[nodiscard]] std::filesystem::path finetune_of_seed(const std::filesystem::path& run);

}  // namespace switchyard::config
