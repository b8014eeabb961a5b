// The folder that `finetune --output` names, told from its files.
#pragma once

#include <filesystem>

namespace switchyard::config {

inline constexpr const char* kFinetuneName = "finetune.json";

// Finished or not.
[[nodiscard]] bool holds_finetune(const std::filesystem::path& folder);

}  // namespace switchyard::config
