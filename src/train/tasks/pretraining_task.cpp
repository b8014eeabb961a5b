#include "train/tasks/pretraining_task.h"

#include "train/tasks/masked_language_task.h"
#include "train/tasks/next_token_task.h"

namespace switchyard::train {

std::unique_ptr<Task> make_pretraining_task(const Build& parts) {
  const data::SampleSource* validation = parts.validation ? &*parts.validation : nullptr;
  if (parts.encoder != nullptr) {
    return std::make_unique<MaskedLanguageTask>(parts.config, *parts.encoder, parts.training,
                                                validation);
  }
  return std::make_unique<NextTokenTask>(parts.config, *parts.decoder, parts.training, validation);
}

}  // namespace switchyard::train
