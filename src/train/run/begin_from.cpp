#include "train/run/begin_from.h"

#include <string>
#include <system_error>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/text.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"
#include "switchyard/train/read_by_ranks.h"
#include "switchyard/train/router_meaning.h"

namespace switchyard::train {
namespace fs = std::filesystem;
namespace {

void check_model(const config::Config& before, const config::Config& config,
                 const std::string& from) {
  if (before.model.type == config.model.type) return;
  throw UsageError(fmt::format("run.from: {} is of type {}, and model.type is {}", from,
                               before.model.type, config.model.type),
                   fmt::format("set model.type: {}", before.model.type));
}

void check_tokenizer(const checkpoint::Checkpoint& saved, const data::Tokenizer& tokenizer) {
  const auto before = data::Tokenizer::load(saved.tokenizer());
  if (before.hash() == tokenizer.hash()) return;
  throw UsageError(
      fmt::format("run.from: {} has another tokenizer ({} pieces, {}) than the data ({}, {})",
                  saved.folder().string(), before.vocab_size(), before.hash(),
                  tokenizer.vocab_size(), tokenizer.hash()),
      before.kind() == "bytes"
          ? "prepare the data with its tokenizer: switchyard prepare --tokenizer bytes"
          : fmt::format("prepare the data with its tokenizer: switchyard prepare --tokenizer {}",
                        shell_quoted(saved.tokenizer().string())));
}

void load(const checkpoint::Checkpoint& saved, const config::Config& before,
          const config::Config& config, model::Model& model) {
  try {
    load_weights(model, saved.weights());
  } catch (const DataError& error) {
    throw DataError(fmt::format("run.from: {}", error.what()),
                    "sizes and experts have to be those of its config.resolved.yaml");
  }
  (void)take_over_router_state(model, saved.router_state(),
                               routers_that_mean_the_same(before.model, config.model), /*step=*/0);
}

std::string hash_of(const fs::path& folder) {
  return to_hex(xxh3(read_file(folder / "manifest.json")));
}

// One that is whole.
std::string folder_of(const std::string& run, const checkpoint::ReadContents& read) {
  const auto saved = checkpoint::Checkpoint::open(run, read);
  return fs::absolute(saved.folder()).lexically_normal().string();
}

// The one that a run of several starts has begun with, and which is still there as it was.
std::string noted_folder(const fs::path& notes) {
  const format::Json told = format::parse_json(read_file(notes), notes.string());
  const std::string folder = format::json_string(told, "from", notes.string());
  std::error_code ignored;
  if (fs::exists(fs::path(folder) / "manifest.json", ignored) &&
      hash_of(folder) == format::json_string(told, "manifest_xxh3", notes.string())) {
    return folder;
  }
  throw DataError(
      fmt::format("{}, the checkpoint that the run began with, is gone or another one", folder),
      "the run has saved nothing yet: begin it anew in another run.dir");
}

}  // namespace

void begin_from(const config::Config& config, const data::Tokenizer& tokenizer,
                const fs::path& notes, comm::Communicator& world, model::Model& model) {
  const bool leads = world.rank() == 0;
  std::error_code ignored;
  const bool is_noted = leads && fs::exists(notes, ignored);
  // "The newest" may be another one a moment later, or for another machine.
  std::string folder;
  look_at_checkpoints(world, [&](const checkpoint::ReadContents& read) {
    folder = folder_of(is_noted ? noted_folder(notes) : config.run.from, read);
  });
  folder = comm::text_of_first(world, folder, "checkpoint to begin with");
  const auto saved = checkpoint::Checkpoint::open_checked_step(folder);
  const config::Config before = config_of(saved);
  check_model(before, config, folder);
  check_tokenizer(saved, tokenizer);
  load(saved, before, config, model);
  if (!leads) return;
  tell_of_fresh_routers(fresh_routers(before.model, config.model), config.train.freeze_router);
  if (!is_noted) {
    const format::Json told = {
        {"from", folder}, {"step", saved.step()}, {"manifest_xxh3", hash_of(folder)}};
    write_file_atomically(notes, format::json_text(told, 2) + "\n");
  }
  log::info("weights of {} (step {}); optimizer and schedule begin afresh", folder, saved.step());
}

}  // namespace switchyard::train
