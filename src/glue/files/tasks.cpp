#include "switchyard/glue/tasks.h"

#include <algorithm>
#include <cctype>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::glue {
namespace {

constexpr const char* kTrain = "train.tsv";
constexpr const char* kDev = "dev.tsv";
constexpr const char* kTest = "test.tsv";

Columns without_label(Columns columns, const std::string& index = "index") {
  columns.label.clear();
  columns.index = index;
  return columns;
}

// A task of three files whose columns have one name each.
Task plain(const std::string& name, const std::string& folder, std::vector<std::string> labels,
           std::vector<Metric> metrics, const Columns& columns,
           const std::string& index = "index") {
  return {.name = name,
          .folder = folder,
          .labels = std::move(labels),
          .metrics = std::move(metrics),
          .headerless = std::nullopt,
          .train = {.name = kTrain, .suffix = "", .submission = "", .columns = columns},
          .dev = {{.name = kDev, .suffix = "", .submission = "", .columns = columns}},
          .test = {{.name = kTest,
                    .suffix = "",
                    .submission = folder + ".tsv",
                    .columns = without_label(columns, index)}}};
}

Task cola() {
  const Columns columns{.text_a = "sentence", .text_b = "", .label = "label", .index = ""};
  Task task = plain("cola", "CoLA", {"0", "1"}, {Metric::matthews_correlation}, columns);
  task.headerless = HeaderlessColumns{.num_fields = 4, .label = 1, .text = 3};
  return task;
}

Task scored(Task task, double highest) {
  task.highest_score = highest;
  return task;
}

Task mnli() {
  const Columns columns{
      .text_a = "sentence1", .text_b = "sentence2", .label = "gold_label", .index = ""};
  Task task = plain("mnli", "MNLI", {"entailment", "neutral", "contradiction"}, {Metric::accuracy},
                    columns);
  task.dev = {
      {.name = "dev_matched.tsv", .suffix = "", .submission = "", .columns = columns},
      {.name = "dev_mismatched.tsv", .suffix = "_mm", .submission = "", .columns = columns}};
  task.test = {{.name = "test_matched.tsv",
                .suffix = "",
                .submission = "MNLI-m.tsv",
                .columns = without_label(columns)},
               {.name = "test_mismatched.tsv",
                .suffix = "_mm",
                .submission = "MNLI-mm.tsv",
                .columns = without_label(columns)},
               // The diagnostic set, beside the task's folder.
               {.name = "../AX/AX.tsv",
                .suffix = "_ax",
                .submission = "AX.tsv",
                .columns = without_label(columns)}};
  return task;
}

std::vector<Task> build_tasks() {
  const Columns sentence{.text_a = "sentence", .text_b = "", .label = "label", .index = ""};
  const Columns pair{.text_a = "sentence1", .text_b = "sentence2", .label = "label", .index = ""};
  const Columns mrpc{.text_a = "#1 String", .text_b = "#2 String", .label = "Quality", .index = ""};
  const Columns stsb{.text_a = "sentence1", .text_b = "sentence2", .label = "score", .index = ""};
  const Columns qqp{
      .text_a = "question1", .text_b = "question2", .label = "is_duplicate", .index = ""};
  const Columns qnli{.text_a = "question", .text_b = "sentence", .label = "label", .index = ""};
  const std::vector<std::string> binary{"0", "1"};
  const std::vector<std::string> entails{"entailment", "not_entailment"};
  return {cola(),
          plain("sst2", "SST-2", binary, {Metric::accuracy}, sentence),
          plain("mrpc", "MRPC", binary, {Metric::accuracy, Metric::f1}, mrpc),
          scored(plain("stsb", "STS-B", {}, {Metric::pearson, Metric::spearmanr}, stsb), 5.0),
          plain("qqp", "QQP", binary, {Metric::accuracy, Metric::f1}, qqp, "id"),
          mnli(),
          plain("qnli", "QNLI", entails, {Metric::accuracy}, qnli),
          plain("rte", "RTE", entails, {Metric::accuracy}, pair),
          plain("wnli", "WNLI", binary, {Metric::accuracy}, pair)};
}

std::string canonical(std::string_view name) {
  std::string plain_name;
  for (const char c : name) {
    if (c == '-' || c == '_' || c == ' ') continue;
    plain_name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain_name;
}

std::vector<std::string> names() {
  std::vector<std::string> list;
  for (const Task& task : all_tasks()) list.push_back(task.name);
  return list;
}

}  // namespace

std::string metric_name(Metric metric) {
  switch (metric) {
    case Metric::accuracy:
      return "accuracy";
    case Metric::f1:
      return "f1";
    case Metric::matthews_correlation:
      return "matthews_correlation";
    case Metric::pearson:
      return "pearson";
    case Metric::spearmanr:
      break;
  }
  return "spearmanr";
}

std::span<const Task> all_tasks() {
  static const std::vector<Task> tasks = build_tasks();
  return tasks;
}

std::vector<const Task*> parse_tasks(std::string_view list) {
  std::vector<const Task*> chosen;
  if (canonical(list) == "all") {
    for (const Task& task : all_tasks()) chosen.push_back(&task);
    return chosen;
  }
  for (const std::string_view spelled : split(list, ",")) {
    const std::string name = canonical(spelled);
    const auto found = std::find_if(all_tasks().begin(), all_tasks().end(),
                                    [&name](const Task& task) { return task.name == name; });
    if (found == all_tasks().end()) {
      const std::string nearest = nearest_name(name, names());
      throw UsageError(
          fmt::format("--task: no task '{}'{}", printable(spelled),
                      nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest)),
          fmt::format("the tasks are {}, all, or custom by itself", join(names(), ", ")));
    }
    if (std::find(chosen.begin(), chosen.end(), &*found) != chosen.end()) {
      throw UsageError(fmt::format("--task: {} is there twice", name));
    }
    chosen.push_back(&*found);
  }
  return chosen;
}

}  // namespace switchyard::glue
