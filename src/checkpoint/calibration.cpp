#include "switchyard/checkpoint/calibration.h"

#include <cmath>
#include <string>
#include <system_error>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/format/json.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKey = "temperature";

fs::path file_in(const fs::path& step_folder) {
  return step_folder / "calibration.json";
}

}  // namespace

bool has_temperature(const fs::path& step_folder) {
  std::error_code unknown;
  return fs::exists(file_in(step_folder), unknown);
}

double temperature_of(const fs::path& step_folder) {
  std::error_code problem;
  if (!fs::exists(file_in(step_folder), problem)) {
    if (!problem) return 1.0;
    throw StorageError(
        fmt::format("cannot look for {}: {}", file_in(step_folder).string(), problem.message()));
  }
  const std::string name = file_in(step_folder).string();
  constexpr const char* kHint = "move the file away to use the model as it was trained";
  double temperature = 0.0;
  try {
    temperature =
        format::json_number(format::parse_json(read_file(file_in(step_folder)), name), kKey, name);
  } catch (const DataError& error) {
    throw DataError(error.what(), kHint);
  }
  if (!std::isfinite(temperature) || temperature <= 0.0) {
    throw DataError(fmt::format("{}: a temperature of {}", name, temperature), kHint);
  }
  return temperature;
}

void keep_temperature(const fs::path& step_folder, double temperature) {
  // The shortest text that reads back to the same bits.
  write_file_atomically(file_in(step_folder), format::json_text({{kKey, temperature}}, 2) + "\n");
}

}  // namespace switchyard::checkpoint
