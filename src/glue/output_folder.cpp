#include "glue/output_folder.h"

#include <string>
#include <system_error>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/format/json.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

using format::Json;

constexpr const char* kTrain = "train";
constexpr const char* kDev = "dev";

void check_start(const Json& noted, const fs::path& file, const std::string& from,
                 const Start& start) {
  if (format::json_string(noted, "fingerprint", file.string()) == start.fingerprint) return;
  throw UsageError(
      fmt::format("{} holds runs that started from {}, not from {}", file.parent_path().string(),
                  format::json_string(noted, "from", file.string()), from),
      "choose another --output");
}

void check_rows(const Json& noted, const fs::path& output, const PreparedTask& prepared) {
  const auto check = [&](const char* part, const std::string& fingerprint,
                         const std::string& file) {
    if (noted.value(part, fingerprint) == fingerprint) return;
    throw UsageError(
        fmt::format("{}: its runs had other {} rows than {} has now",
                    (output / prepared.task.name).string(), part, file),
        "the file, finetune.max_rows or finetune.max_length is another one: give what was there "
        "before, or choose another --output");
  };
  check(kTrain, prepared.data.train_fingerprint, prepared.train_file.string());
  check(kDev, prepared.data.dev_fingerprint, prepared.dev_rows.front().file.string());
}

}  // namespace

void claim_output(const fs::path& output, const Start& start, std::span<const PreparedTask> tasks) {
  std::error_code error;
  fs::create_directories(output, error);
  if (error) {
    throw StorageError(
        fmt::format("cannot make the folder {}: {}", output.string(), error.message()));
  }
  const fs::path file = output / "finetune.json";
  const std::string from =
      start.checkpoint ? start.checkpoint->folder().string() : std::string("none");
  Json noted = {{"from", from}, {"fingerprint", start.fingerprint}, {"rows", Json::object()}};
  if (fs::exists(file)) {
    Json before = format::parse_json(read_file(file), file.string());
    check_start(before, file, from, start);
    if (before.contains("rows") && before["rows"].is_object()) noted["rows"] = before["rows"];
  }
  for (const PreparedTask& prepared : tasks) {
    Json& rows = noted["rows"][prepared.task.name];
    if (rows.is_object() && fs::exists(output / prepared.task.name)) {
      check_rows(rows, output, prepared);
    }
    rows = {{kTrain, prepared.data.train_fingerprint}, {kDev, prepared.data.dev_fingerprint}};
  }
  write_file_atomically(file, format::json_text(noted, 2) + "\n");
}

}  // namespace switchyard::glue
