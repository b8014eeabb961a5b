#include "switchyard/core/folder_name.h"

#include <system_error>

namespace switchyard {

std::string name_of_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::path whole = std::filesystem::absolute(folder, error).lexically_normal();
  if (error) whole = folder;
  if (!whole.has_filename()) whole = whole.parent_path();  // "runs/a/" ends in an empty name
  return whole.has_filename() ? whole.filename().string() : whole.string();
}

}  // namespace switchyard
