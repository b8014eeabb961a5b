// report.html: one page about a run, complete in itself.
#pragma once

#include <filesystem>
#include <string>

#include "switchyard/core/output.h"

namespace switchyard::telemetry {

inline constexpr const char* kReportName = "report.html";

// The page about the run in `run`: is it learning, what do the experts do, how fast is it. It reads
// metrics.jsonl, samples/, config.resolved.yaml and environment.json, opens no network connection
// and can be read without scripts. What is missing or damaged becomes a note on the page; a run
// that still goes is shown up to where it is.
[[nodiscard]] std::string report_page(const std::filesystem::path& run);

// Writes the page where `output` leads (core/output.h). Throws StorageError.
Written write_report(const std::filesystem::path& run, const std::string& output);

}  // namespace switchyard::telemetry
