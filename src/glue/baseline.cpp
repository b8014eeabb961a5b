#include "glue/baseline.h"

#include <limits>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"

namespace switchyard::glue {
namespace {

constexpr std::string_view kPrefix = "eval_";

std::map<std::string, double> medians_in(const format::Json& entry) {
  std::map<std::string, double> medians;
  for (const auto& [name, value] : entry.items()) {
    if (!name.starts_with(kPrefix)) continue;
    const format::Json& median = value.at("median");
    medians[name.substr(kPrefix.size())] =
        median.is_null() ? std::numeric_limits<double>::quiet_NaN() : median.get<double>();
  }
  return medians;
}

}  // namespace

Medians medians_of(const std::vector<TaskResult>& results) {
  Medians medians;
  for (const TaskResult& result : results) {
    for (const MetricRow& row : metric_rows(result)) {
      medians[result.task.name][row.key] = row.spread.median;
    }
  }
  return medians;
}

Medians read_medians(const std::filesystem::path& output, const std::vector<std::string>& tasks) {
  const std::filesystem::path file = output / kTableName;
  const format::Json json = format::parse_json(read_file(file), file.string());
  Medians medians;
  try {
    for (const format::Json& entry : json) {
      medians[entry.at("task").get<std::string>()] = medians_in(entry);
    }
  } catch (const format::Json::exception& error) {
    throw DataError(fmt::format("{}: {}", file.string(), error.what()),
                    "run its `switchyard finetune` again: what is done is only read");
  }
  for (const std::string& task : tasks) {
    if (medians.contains(task)) continue;
    throw UsageError(fmt::format("--baseline: {} has no results of {}", output.string(), task),
                     "fine-tune the baseline for the same tasks first, or give the pretrained run");
  }
  return medians;
}

}  // namespace switchyard::glue
