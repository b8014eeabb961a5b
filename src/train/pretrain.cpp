#include "switchyard/train/pretrain.h"

#include <memory>
#include <optional>
#include <utility>

#include "switchyard/comm/self.h"
#include "switchyard/comm/watched.h"
#include "switchyard/core/log.h"
#include "switchyard/parallel/expert_parallel.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/train/build.h"
#include "switchyard/train/read_by_ranks.h"
#include "switchyard/train/run_folder.h"
#include "switchyard/train/stop_signal.h"
#include "train/agreement.h"
#include "train/run/begin_from.h"
#include "train/run/folder_on_ranks.h"
#include "train/run/report_at_end.h"
#include "train/run/resume_point.h"
#include "train/run/run_loop.h"
#include "train/run/run_ranks.h"
#include "train/tasks/pretraining_task.h"

namespace switchyard::train {
namespace {

bool leads(comm::Communicator& world) {
  return RunRanks(world).leads();
}

struct LoggedFolder {
  RunFolder folder;
  std::optional<log::LogFile> log;  // the leader's
};

LoggedFolder open_and_log(comm::Communicator& world, const std::string& path,
                          const OpenFolder& open) {
  LoggedFolder opened{.folder = open_on_ranks(world, path, open), .log = {}};
  if (leads(world)) opened.log.emplace(opened.folder.log_file());
  return opened;
}

// With this rank's share of the experts.
Build build_share(const config::Config& config, parallel::RankGroups& groups) {
  return build(config, parallel::expert_placement(groups, config.model.moe.num_experts,
                                                  config.parallel.exchange_chunks));
}

model::Model& model_of(const Build& parts) {
  if (parts.encoder != nullptr) return *parts.encoder;
  return *parts.decoder;
}

void warn_of_what_comes_to_nothing(const config::Config& config, bool goes_on, const Task& task) {
  if (config.train.freeze_router && config.run.from.empty() && !goes_on) {
    log::warning(
        "train.freeze_router: the routers stay as random as they begin; it is for a run "
        "that begins with a trained model's (--from)");
  }
  if (config.train.sample_every > 0 && config.model.is_causal() && !task.can_sample()) {
    log::warning(
        "train.sample_every={} does nothing: the data's tokenizer knows no end of a "
        "document to begin after; give text to continue as train.sample_prompt",
        config.train.sample_every);
  }
}

// `point`: where to go on from; nullptr = a new run.
RunResult run(const Build& parts, parallel::RankGroups& groups, const RunFolder& folder,
              const ResumePoint* point) {
  check_ranks_agree(groups.world(), facts_of(parts));
  const bool has_checkpoint = point != nullptr && point->checkpoint.has_value();
  if (!parts.config.run.from.empty() && !has_checkpoint) {
    begin_from(parts.config, parts.training.tokenizer(), folder.path() / config::kOriginName,
               groups.world(), model_of(parts));
  }
  const std::unique_ptr<Task> task = make_pretraining_task(parts);
  if (leads(groups.world())) warn_of_what_comes_to_nothing(parts.config, has_checkpoint, *task);
  const StopSignal stop;
  comm::keep_record(groups.world(), records_of_ranks(folder));
  RunLoop loop(parts.config, *task, groups, folder, stop);
  if (point != nullptr) loop.restore(*point);
  RunResult result;
  {
    std::optional<ReportAtEnd> report;
    if (leads(groups.world())) report.emplace(folder, loop);
    result = loop.run();
  }
  loop.side_work().check_last();
  return result;
}

}  // namespace

RunResult pretrain(const config::Config& config, comm::Communicator& world) {
  check_ranks_agree(world, facts_of(config));
  parallel::RankGroups groups(world, config.parallel.expert);
  const LoggedFolder opened = open_and_log(world, config.run.dir, &RunFolder::create);
  return run(build_share(config, groups), groups, opened.folder, nullptr);
}

RunResult pretrain(const config::Config& config) {
  return pretrain(config, *comm::make_self_communicator());
}

RunResult resume(const config::Config& config, const config::AllowedChanges& allowed,
                 std::optional<std::int64_t> from, comm::Communicator& world) {
  check_ranks_agree(world, facts_of(config));
  parallel::RankGroups groups(world, config.parallel.expert);
  const LoggedFolder opened = open_and_log(world, config.run.dir, &RunFolder::reopen);
  const RunFolder& folder = opened.folder;
  ResumePoint point;
  look_at_checkpoints(world, [&](const checkpoint::ReadContents& read) {
    point = find_resume_point(folder, config, allowed, from, read);
  });
  const Build parts = build_share(config, groups);
  if (leads(world)) {
    check_data(point, parts.training.fingerprint(), config, allowed);
    tidy_and_tell(point, config, folder, world.size());
  }
  point = share_resume_point(std::move(point), world);
  return run(parts, groups, folder, &point);
}

RunResult resume(const config::Config& config, const config::AllowedChanges& allowed,
                 std::optional<std::int64_t> from) {
  return resume(config, allowed, from, *comm::make_self_communicator());
}

}  // namespace switchyard::train
