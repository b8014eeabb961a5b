// Pretraining that begins with the weights of another run (run.from): optimizer, schedule and data
// order are new, the model is not.
#pragma once

#include <filesystem>

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/model/model.h"

namespace switchyard::train {

// Fills the model from the checkpoint of config.run.from, tensor by tensor and bit for bit, and the
// state of routers that mean what they meant there. `tokenizer`: of the data. `notes`: the file
// that the leader of a new run writes; where it is there already, the checkpoint is the one that it
// tells of, whatever is newer. A collective of all ranks of `world`.
// Throws UsageError for a model of the other type or another tokenizer, DataError for tensors that
// are missing, unknown or of another shape, for files that cannot be read, and for another
// checkpoint than the run began with.
void begin_from(const config::Config& config, const data::Tokenizer& tokenizer,
                const std::filesystem::path& notes, comm::Communicator& world, model::Model& model);

}  // namespace switchyard::train
