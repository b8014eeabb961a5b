// The page about a run whose files are hostile: metrics.jsonl, and behind NULs a sample and an
// environment.json. Every input makes a page; what the files say never becomes markup.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "fuzz/fuzz.h"
#include "switchyard/core/file.h"
#include "switchyard/core/utf8.h"
#include "switchyard/telemetry/report.h"
#include "telemetry/markup.h"

namespace {

namespace fs = std::filesystem;
using switchyard::fuzz::require;

// In memory where the machine has such a folder; gone when the process ends in order.
class RunFolder {
 public:
  RunFolder() {
    const fs::path base = fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
    path_ = base / ("switchyard_report_fuzz_" + std::to_string(::getpid()));
    fs::create_directories(path_ / "samples");
  }
  ~RunFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string_view take_part(std::string_view& input) {
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view part = input.substr(0, end);
  input.remove_prefix(std::min(end + 1, input.size()));
  return part;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const RunFolder run;
  std::string_view input = switchyard::fuzz::as_text(data, size);
  // Not the atomic write: it waits for the disk.
  const auto put = [](const fs::path& path, std::string_view text) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    require(file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size() &&
                std::fclose(file) == 0,
            "the fuzzer can write its folder");
  };
  put(run.path() / "metrics.jsonl", take_part(input));
  put(run.path() / "samples" / "step-000001.txt", take_part(input));
  put(run.path() / "environment.json", take_part(input));
  const std::string page = switchyard::telemetry::report_page(run.path());
  require(!switchyard::first_invalid_utf8(page).has_value(), "a page is UTF-8");
  const std::string problem = switchyard::telemetry::markup_problem(page);
  if (!problem.empty()) std::fprintf(stderr, "%s\n", problem.c_str());
  require(problem.empty(), "a page is well-formed markup");
  return 0;
}
