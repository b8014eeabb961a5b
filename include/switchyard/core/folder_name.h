// What a folder that a user names is called, however the path is spelled.
#pragma once

#include <filesystem>
#include <string>

namespace switchyard {

// "a" for "runs/a", "runs/a/" and "runs/a/.", and for "." its name where it is; "/" for the root.
[[nodiscard]] std::string name_of_folder(const std::filesystem::path& folder);

}  // namespace switchyard
