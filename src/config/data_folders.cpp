#include "switchyard/config/data_folders.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <system_error>

#include "config/yaml/document.h"
#include "config/yaml/value.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

// Absolute, without links but for the last part: the folder may be a link that is set to new data.
fs::path place_of(const fs::path& folder) {
  std::error_code error;
  fs::path absolute = fs::absolute(folder, error);
  if (error) return folder;
  const fs::path named = absolute.has_filename() ? absolute : absolute.parent_path();
  const fs::path name = named.filename();
  const bool has_name = name != "." && name != "..";
  const fs::path parent = fs::weakly_canonical(has_name ? named.parent_path() : named, error);
  if (error) return absolute;
  return has_name ? parent / name : parent;
}

std::string text_of(const Node& entry, std::string_view key) {
  const auto found = std::find_if(entry.items.begin(), entry.items.end(),
                                  [key](const Node& item) { return item.key == key; });
  return found == entry.items.end() ? std::string() : found->text;
}

}  // namespace

std::vector<std::string> data_folders_in(const DataConfig& data) {
  std::vector<std::string> spellings;
  if (!data.path.empty()) spellings.push_back(data.path);
  for (const BlendItem& item : data.blend) spellings.push_back(item.path);
  return spellings;
}

std::string data_folders_yaml(const DataConfig& data, const fs::path& run) {
  std::error_code error;
  const fs::path from = fs::weakly_canonical(fs::absolute(run, error), error);
  std::string yaml =
      "# Where the data of this run were when it last started. `switchyard resume` looks here "
      "when\n"
      "# the folder that config.resolved.yaml names is not there.\n";
  for (const std::string& spelling : data_folders_in(data)) {
    const fs::path place = place_of(spelling);
    yaml += fmt::format("- path: {}\n  absolute: {}\n  from_run: {}\n", text_to_yaml(spelling),
                        text_to_yaml(place.string()),
                        text_to_yaml(place.lexically_relative(from).string()));
  }
  return yaml;
}

std::vector<fs::path> remembered_places(const std::string& spelling, const fs::path& run) {
  std::string text;
  try {
    text = read_file(run / kDataFoldersName);
  } catch (const StorageError&) {
    return {};  // a run of an older version
  }
  Problems problems;
  const Node list =
      parse_document(text, std::make_shared<const std::string>(kDataFoldersName), problems);
  for (const Node& entry : list.items) {
    if (text_of(entry, "path") != spelling) continue;
    std::vector<fs::path> places;
    if (const std::string absolute = text_of(entry, "absolute"); !absolute.empty()) {
      places.emplace_back(absolute);
    }
    if (const std::string from_run = text_of(entry, "from_run"); !from_run.empty()) {
      std::error_code error;
      const fs::path base = fs::weakly_canonical(fs::absolute(run, error), error);
      places.push_back((base / from_run).lexically_normal());
    }
    return places;
  }
  return {};
}

void find_moved_data(DataConfig& data, const fs::path& run) {
  const auto find = [&run](std::string& folder) {
    if (folder.empty() || holds_prepared_data(folder)) return;
    const std::vector<fs::path> places = remembered_places(folder, run);
    const auto found = std::find_if(places.begin(), places.end(), [](const fs::path& place) {
      return holds_prepared_data(place);
    });
    if (found != places.end()) folder = found->string();
  };
  find(data.path);
  for (BlendItem& item : data.blend) find(item.path);
}

}  // namespace switchyard::config
