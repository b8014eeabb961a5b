#include "config/verbs_inspect.h"

namespace switchyard::config {

VerbSpec doctor_verb() {
  return {.name = "doctor",
          .summary = "is this machine fit to train on, and which precision suits it",
          .flags = {{.name = "--json",
                     .kind = ValueKind::kSwitch,
                     .help = "print one JSON object instead of lines"}},
          .example = "switchyard doctor"};
}

}  // namespace switchyard::config
