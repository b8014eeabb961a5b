// What an evaluation's counts say about the question whether harder tokens get more experts.
#pragma once

#include <optional>

#include "switchyard/inference/token_difficulty.h"
#include "switchyard/telemetry/record.h"

namespace switchyard::train {

// None where each layer gave all tokens as many experts, or there are none. Pearson's correlation
// is of losses rounded to 1/1024 nat. For Spearman's, tokens are ranked by loss in bins of 4 % and
// by number of experts, ties in the middle of the places they share.
[[nodiscard]] std::optional<telemetry::DifficultyRecord> summarize_difficulty(
    const inference::TokenDifficulty& counts);

}  // namespace switchyard::train
