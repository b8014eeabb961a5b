// `switchyard evaluate`.
#include "switchyard/inference/evaluate.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "cli/engine/verbs.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/standard_input.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/data/file_kind.h"
#include "switchyard/data/text_file.h"
#include "switchyard/format/json.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/telemetry/record.h"
#include "switchyard/train/build.h"
#include "switchyard/train/token_difficulty.h"

namespace switchyard::cli {
namespace {

using format::Json;

Json or_null(const std::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

std::string as_json(const inference::TextEvaluation& result, const train::LoadedModel& model,
                    const std::string& text_path) {
  // JSON has no NaN and no infinity: nlohmann writes null.
  Json json;
  json["checkpoint"] = model.folder.string();
  json["step"] = model.step;
  json["text"] = text_path;
  json["temperature"] = model.decoder->head().temperature();
  json["loss"] = result.loss;
  json["perplexity"] = result.perplexity;
  json["bits_per_byte"] = or_null(result.bits_per_byte);
  json["experts_per_token"] = or_null(result.experts_per_token);
  // Matrix parameters that one token uses at the k measured.
  json["activated_parameters"] = model::count_parameters(model.decoder->config())
                                     .activated(result.experts_per_token.value_or(0.0));
  json["tokens"] = result.num_tokens;
  json["bytes"] = result.num_bytes;
  json["lossless"] = result.lossless;
  json["sequence_length"] = result.sequence_length;
  json["stride"] = result.stride;
  if (const auto difficulty = train::summarize_difficulty(result.difficulty)) {
    json["difficulty"] = telemetry::to_json(*difficulty);
  }
  return format::json_text(json) + "\n";
}

std::string correlation_text(const telemetry::LossCorrelation& correlation) {
  return correlation.spearman.has_value() ? fmt::format("{:+.2f}", *correlation.spearman) : "-";
}

// Do harder tokens get more experts?
std::string as_lines(const telemetry::DifficultyRecord& difficulty) {
  std::string text = fmt::format(
      "  experts and loss   rank correlation {} over the tokens; with the loss of the token itself "
      "{}\n",
      correlation_text(difficulty.all.with_loss), correlation_text(difficulty.all.with_input_loss));
  for (std::size_t i = 0; i < difficulty.layers.size(); ++i) {
    text += fmt::format(
        "    layer {:<3}        {}; {:.2f} experts in the easiest tenth, {:.2f} in the hardest\n",
        difficulty.layers[i], correlation_text(difficulty.by_layer[i].with_loss),
        difficulty.by_loss.front().experts_per_token[i],
        difficulty.by_loss.back().experts_per_token[i]);
  }
  return text;
}

std::string as_lines(const inference::TextEvaluation& result, const train::LoadedModel& model) {
  std::string text = fmt::format(
      "{}\n"
      "  loss               {} nats per token\n"
      "  perplexity         {}\n"
      "  bits per byte      {}\n",
      printable_line(model.folder.string()), format_fixed(result.loss, 4),
      format_fixed(result.perplexity, 2),
      result.bits_per_byte.has_value() ? format_fixed(*result.bits_per_byte, 4)
                                       : "-  (the tokenizer loses parts of this text)");
  if (const double temperature = model.decoder->head().temperature(); temperature != 1.0) {
    text += fmt::format("  temperature        {:.3f}  (fitted to the run's validation text)\n",
                        temperature);
  }
  if (result.experts_per_token.has_value()) {
    text += fmt::format("  experts per token  {:.3f}\n", *result.experts_per_token);
  }
  if (const auto difficulty = train::summarize_difficulty(result.difficulty)) {
    text += as_lines(*difficulty);
  }
  return text + fmt::format("  tokens, bytes      {}, {} (windows of {}, stride {})\n",
                            result.num_tokens, result.num_bytes, result.sequence_length,
                            result.stride);
}

// As `prepare` would take it, which bits per byte depend on. Throws DataError for what is no text
// or not UTF-8.
std::string text_to_evaluate(const std::string& path, const std::string& name) {
  data::WholeText whole = data::read_utf8_text(path, "switchyard evaluate ... --text -");
  if (whole.had_byte_order_mark) log::info("note: {}: dropped the byte order mark", name);
  if (whole.text.empty()) throw DataError(fmt::format("{} is empty", name));
  const bool is_lines = data::looks_like_json_lines(whole.text);
  if (is_lines || data::looks_like_json_document(whole.text)) {
    log::warning("{}: {} by the look of it, evaluated as plain text with braces and all", name,
                 is_lines ? "JSON lines" : "a JSON document");
  }
  return std::move(whole.text);
}

}  // namespace

int run_evaluate(const config::ParsedArguments& arguments) {
  const std::string given = arguments.text("--text");
  const std::string text_path = input_name(given);
  const std::string text = text_to_evaluate(given, text_path);
  const train::LoadedModel model = train::load_model(
      arguments.text("RUN|CHECKPOINT"), {.precision = arguments.text("--precision"),
                                         .device = arguments.text("--device"),
                                         .is_calibrated = !arguments.has("--uncalibrated")});

  std::optional<ProgressBar> bar;
  inference::TextEvaluationOptions options;
  options.sequence_length = model.config.data.sequence_length;
  if (arguments.has("--stride")) options.stride = arguments.integer("--stride");
  options.step = model.step;
  options.tokens_per_pass =
      inference::tokens_per_pass(model.config.train.micro_batch_size, options.sequence_length);
  options.progress = [&bar](std::int64_t done, std::int64_t total) {
    if (!bar.has_value()) bar.emplace("evaluate", static_cast<std::uint64_t>(total));
    bar->advance_to(static_cast<std::uint64_t>(done));
  };
  const inference::TextEvaluation result =
      inference::evaluate_text(*model.decoder, model.tokenizer, text, options);
  if (bar.has_value()) bar->finish();

  write_stdout(arguments.has("--json") ? as_json(result, model, text_path)
                                       : as_lines(result, model));
  if (!std::isfinite(result.loss)) {
    throw NonFiniteError(
        "the loss is not finite",
        "these weights give no sound output; evaluate an earlier checkpoint, RUN@STEP");
  }
  return kExitDone;
}

}  // namespace switchyard::cli
