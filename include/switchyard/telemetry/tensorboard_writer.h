// TensorBoard event files of a run, written as it goes: `tensorboard --logdir RUN` shows them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "switchyard/core/file.h"
#include "switchyard/telemetry/record.h"

namespace switchyard::telemetry {

// Tags are the keys of metrics.jsonl in groups: loss/lm_loss, routing/experts_per_token,
// speed/mfu, train/grad_norm, phase_ms/forward, validation/bits_per_byte; per MoE layer
// layer_03/router_entropy, layer_03_load/expert_05 and histograms of experts per token and of the
// load over expert ids.
class TensorBoardWriter {
 public:
  // Starts a new file in `folder`, named so that it sorts after those that are there. It begins by
  // taking back what they say about `first_step` (from 1, the first step of this session) and
  // later: a resumed run rolls back. Throws StorageError.
  TensorBoardWriter(const std::filesystem::path& folder, std::int64_t first_step);

  // One event each, handed to the operating system at once. Numbers that are not finite or not
  // known are left out. Throws StorageError; the event then waits and goes before the next one,
  // whole and once.
  void write(const StepRecord& record);
  void write(const EvaluationRecord& record);
  // Tries to write what waits. Throws StorageError.
  void write_waiting();

 private:
  void append(const std::string& message);

  AppendFile file_;
};

}  // namespace switchyard::telemetry
