// `switchyard predict`.
#include "switchyard/glue/predict.h"

#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/output.h"
#include "switchyard/core/terminal.h"

namespace switchyard::cli {

int run_predict(const config::ParsedArguments& arguments) {
  const std::string text =
      glue::predict_file({.run = arguments.text("RUN"),
                          .input = arguments.text("--input"),
                          .device = arguments.has("--device") ? arguments.text("--device") : ""});
  if (!arguments.has("--output")) {
    write_stdout(text);
  } else if (write_output(arguments.text("--output"), text) == Written::kFile) {
    log::info("labels: {}", arguments.text("--output"));
  }
  return kExitDone;
}

}  // namespace switchyard::cli
