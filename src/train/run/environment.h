// What a run was made with: for environment.json and the manifest of checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "switchyard/config/config.h"

namespace switchyard::train {

struct Environment {
  double peak_flops = 0.0;           // see ops::peak_flops; 0 where memory did not suffice
  double measured_peak_flops = 0.0;  // beside it
  bool peak_is_of_data_sheet = false;
  double fp32_peak_flops = 0.0;  // beside bf16's on a CPU; otherwise 0, not measured
  std::int64_t micro_step = 0;   // sequences that all ranks together compute at a time
  std::map<std::string, std::string> facts;

  [[nodiscard]] std::string to_json() const;
};

// `num_ranks`: that compute at the same time. Their peak together is measured on one of them, with
// `measures_peak`.
[[nodiscard]] Environment measure_environment(const config::Config& config,
                                              std::int64_t num_ranks = 1,
                                              bool measures_peak = true);

// Of the fact "ranks", such as 4x2: 4. None where it is something else.
[[nodiscard]] std::optional<std::int64_t> num_ranks_in(std::string_view ranks);
// Of those that last worked in a run, by its environment.json; none where that does not say.
[[nodiscard]] std::optional<std::int64_t> num_ranks_of(const std::filesystem::path& run);
// Likewise the size of their micro-steps. One file tells it: of two, a kill may leave one behind.
[[nodiscard]] std::optional<std::int64_t> micro_step_of(const std::filesystem::path& run);

}  // namespace switchyard::train
