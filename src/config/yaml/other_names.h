// What other frameworks call our keys and values, for the hint beside "unknown key".
#pragma once

#include <span>
#include <string_view>
#include <utility>

namespace switchyard::config {

// "train.steps" for "max_iters" (nanoGPT) or "max_steps" (Hugging Face), in any case; empty when
// none is known.
[[nodiscard]] std::string_view key_called_elsewhere(std::string_view name);
// All of these pairs: theirs, ours.
[[nodiscard]] std::span<const std::pair<std::string_view, std::string_view>> other_key_names();
// "cuda" for "gpu"; empty when none is known.
[[nodiscard]] std::string_view value_called_elsewhere(std::string_view value);

}  // namespace switchyard::config
