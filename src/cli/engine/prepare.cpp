#include "cli/engine/prepare.h"

#include <fmt/format.h>

#include <string>

#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/data/prepare.h"

namespace switchyard::cli {
namespace {

std::string counts_line(const data::SplitCounts& counts) {
  return fmt::format("{}, {} {}, {} {}", counted(counts.documents, "document"),
                     format_count(static_cast<double>(counts.tokens)),
                     plural(counts.tokens, "token"),
                     format_count(static_cast<double>(counts.bytes)), plural(counts.bytes, "byte"));
}

std::string summary(const std::string& output, const data::PrepareReport& report) {
  const auto& sidecar = report.sidecar;
  std::string text = fmt::format(
      "{}\n"
      "  tokenizer        {}, {} pieces{}\n"
      "  train            {}\n"
      "  validation       {}{}\n"
      "  bytes per token  {:.3f}\n",
      printable_line(output), sidecar.tokenizer_kind, sidecar.vocab_size,
      sidecar.lossless ? ", lossless" : ", NOT lossless", counts_line(sidecar.train),
      counts_line(sidecar.validation),
      sidecar.validation_share > 0.0
          ? fmt::format(" ({:.3g} % of the input)", 100.0 * report.held_back)
          : "",
      report.bytes_per_token);
  if (report.num_skipped > 0) {
    text += fmt::format("  skipped          {}\n", counted(report.num_skipped, "record"));
  }
  for (std::size_t i = 0; i < report.samples.size(); ++i) {
    text += fmt::format("  sample {:<9} {}\n", i + 1, report.samples[i]);
  }
  return text;
}

}  // namespace

int run_prepare(const config::ParsedArguments& arguments) {
  data::PrepareOptions options;
  options.inputs = arguments.texts("--input");
  options.validation_inputs = arguments.texts("--validation-input");
  options.tokenizer = arguments.text("--tokenizer");
  options.output = arguments.text("--output");
  if (arguments.has("--validation")) options.validation = arguments.number("--validation");
  options.split = arguments.text("--split");
  options.format = arguments.text("--format");
  options.text_field = arguments.text("--text-field");
  options.skip_bad_records = arguments.has("--skip-bad-records");
  options.document_separator = arguments.text("--document-separator");
  options.overwrite = arguments.has("--overwrite");
  options.num_samples = arguments.integer("--samples");

  const data::PrepareReport report = data::prepare(options);
  for (const std::string& warning : report.warnings) log::warning("{}", warning);
  for (const std::string& note : report.notes) log::info("note: {}", note);
  write_stdout(summary(arguments.text("--output"), report));
  return kExitDone;
}

}  // namespace switchyard::cli
