#include "switchyard/telemetry/tensorboard_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "switchyard/format/tensorboard.h"

namespace switchyard::telemetry {
namespace {

namespace fs = std::filesystem;
using format::Json;
using format::TensorBoardHistogram;
using format::TensorBoardScalar;

constexpr std::string_view kPrefix = "events.out.tfevents.";

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The seconds in the name of an event file; 0 for other files.
std::int64_t seconds_in_name(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  std::int64_t seconds = 0;
  for (std::size_t i = kPrefix.size(); i < name.size() && name[i] >= '0' && name[i] <= '9'; ++i) {
    if (i - kPrefix.size() > 12) return 0;  // none of ours
    seconds = seconds * 10 + (name[i] - '0');
  }
  return seconds;
}

// TensorBoard reads the files of a folder in the order of their names: a new one has to be later
// than all others, whatever the clock says.
fs::path next_file(const fs::path& folder) {
  auto seconds = static_cast<std::int64_t>(now());
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    seconds = std::max(seconds, seconds_in_name(entry->path().filename().string()) + 1);
  }
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return folder /
         fmt::format("{}{:010}.{}", kPrefix, seconds, host[0] == '\0' ? "localhost" : host.data());
}

std::string_view group_of(std::string_view key) {
  if (key.find("loss") != std::string_view::npos) return "loss";
  constexpr std::array kSpeed = {"tokens_per_second", "step_ms", "mfu", "memory_bytes"};
  if (std::find(kSpeed.begin(), kSpeed.end(), key) != kSpeed.end()) return "speed";
  constexpr std::array kTrain = {"tokens", "learning_rate", "grad_norm", "skipped_steps"};
  return std::find(kTrain.begin(), kTrain.end(), key) != kTrain.end() ? "train" : "routing";
}

void add_scalar(std::vector<TensorBoardScalar>& scalars, std::string tag, const Json& value) {
  if (value.is_number()) scalars.push_back({std::move(tag), value.get<double>()});
}

// Every number of a record but its step, under its key in metrics.jsonl.
std::vector<TensorBoardScalar> scalars_of(const Json& record) {
  std::vector<TensorBoardScalar> scalars;
  for (const auto& [key, value] : record.items()) {
    if (key != "step") add_scalar(scalars, fmt::format("{}/{}", group_of(key), key), value);
  }
  const auto add_gauges = [&scalars](const std::string& group, const Json& of) {
    if (!of.contains("router")) return;
    for (const auto& [name, value] : of["router"].items()) {
      add_scalar(scalars, fmt::format("{}/{}", group, name), value);
    }
  };
  add_gauges("routing", record);
  for (const auto& [phase, value] : record["phase_ms"].items()) {
    add_scalar(scalars, "phase_ms/" + phase, value);
  }
  for (const Json& layer : record["layers"]) {
    const std::string group = fmt::format("layer_{:02}", layer["layer"].get<std::int64_t>());
    for (const auto& [key, value] : layer.items()) {
      if (key != "layer") add_scalar(scalars, fmt::format("{}/{}", group, key), value);
    }
    add_gauges(group, layer);
    std::size_t expert = 0;
    for (const Json& share : layer["load"]) {
      add_scalar(scalars, fmt::format("{}_load/expert_{:02}", group, expert++), share);
    }
  }
  return scalars;
}

// Of experts and loss, by ranks: all layers together and each.
void add_difficulty(std::vector<TensorBoardScalar>& scalars, const EvaluationRecord& record) {
  if (!record.difficulty.has_value()) return;
  const auto add = [&](const std::string& name, const ExpertsByDifficulty& experts) {
    const std::optional<double>& value = experts.with_loss.spearman;
    if (value)
      scalars.push_back({fmt::format("{}/loss_correlation{}", record.split, name), *value});
  };
  add("", record.difficulty->all);
  for (std::size_t i = 0; i < record.difficulty->layers.size(); ++i) {
    add(fmt::format("_layer_{:02}", record.difficulty->layers[i]),
        record.difficulty->by_layer.at(i));
  }
}

std::vector<TensorBoardHistogram> histograms_of(const StepRecord& record) {
  std::vector<TensorBoardHistogram> histograms;
  for (const LayerRecord& layer : record.layers) {
    const std::string group = fmt::format("layer_{:02}", layer.layer);
    histograms.push_back(
        format::integer_histogram(group + "/experts_per_token_histogram",
                                  {layer.k_histogram.begin(), layer.k_histogram.end()}));
    histograms.push_back(format::integer_histogram(group + "/load_by_expert", layer.load));
  }
  return histograms;
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const fs::path& folder, std::int64_t first_step)
    : file_(next_file(folder), AppendFile::Mode::kCreateNew) {
  append(format::file_version_event(now()));
  append(format::session_start_event(now(), first_step));
}

void TensorBoardWriter::write(const StepRecord& record) {
  append(format::summary_event(now(), record.step, scalars_of(to_json(record)),
                               histograms_of(record)));
}

void TensorBoardWriter::write(const EvaluationRecord& record) {
  const Json json = to_json(record);
  std::vector<TensorBoardScalar> scalars;
  for (const auto& [key, value] : json.items()) {
    if (key != "step") add_scalar(scalars, fmt::format("{}/{}", record.split, key), value);
  }
  add_difficulty(scalars, record);
  append(format::summary_event(now(), record.step, scalars, {}));
}

void TensorBoardWriter::write_waiting() {
  file_.write({});
}

void TensorBoardWriter::append(const std::string& message) {
  file_.write(format::tfrecord(message));
}

}  // namespace switchyard::telemetry
