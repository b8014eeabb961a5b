// `switchyard generate`.
#include "switchyard/inference/generate.h"

#include <string>

#include "cli/engine/expert_view.h"
#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/inference/printable.h"
#include "switchyard/train/build.h"

namespace switchyard::cli {
namespace {

inference::GenerateOptions options_of(const config::ParsedArguments& arguments,
                                      const train::LoadedModel& model) {
  inference::GenerateOptions options;
  options.sampling.temperature = arguments.number("--temperature");
  options.sampling.top_k = arguments.integer("--top-k");
  options.sampling.nucleus = arguments.number("--nucleus");
  options.sampling.seed = static_cast<std::uint64_t>(arguments.integer("--seed"));
  options.max_tokens = arguments.integer("--max-tokens");
  options.sequence_length = model.config.data.sequence_length;
  options.step = model.step;
  options.use_cache = !arguments.has("--no-cache");
  return options;
}

}  // namespace

int run_generate(const config::ParsedArguments& arguments) {
  const train::LoadedModel model =
      train::load_model(arguments.text("RUN|CHECKPOINT"), {.device = arguments.text("--device")});
  const inference::GenerateOptions options = options_of(arguments, model);
  const std::string prompt = arguments.text("--prompt");
  const bool show_experts = arguments.has("--show-experts") && !model.decoder->routers().empty();
  if (arguments.has("--show-experts") && !show_experts) {
    log::warning("the model has no MoE layers: there are no experts to show");
  }

  ExpertView view(model.tokenizer, stdout_has_color());
  inference::PrintableStream stream;
  if (!show_experts) write_stdout(stream.push(prompt));
  const inference::Generation generation =
      inference::generate(*model.decoder, model.tokenizer, prompt, options,
                          [&](const inference::GeneratedToken& token) {
                            if (show_experts) {
                              write_stdout(view.show(token));
                            } else if (!token.is_prompt) {
                              write_stdout(stream.push(token.bytes));
                            }
                          });
  write_stdout(show_experts ? view.finish() : stream.finish() + "\n");
  if (generation.reached_end) log::info("the model ended the document");
  if (generation.window_moved) {
    log::info("the text outgrew the trained window of {} tokens: its beginning was forgotten",
              options.sequence_length);
  }
  return kExitDone;
}

}  // namespace switchyard::cli
