#include "switchyard/train/pretrain.h"

#include <memory>
#include <utility>

#include "switchyard/comm/self.h"
#include "switchyard/core/log.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/train/build.h"
#include "switchyard/train/run_folder.h"
#include "switchyard/train/stop_signal.h"
#include "train/pretraining_task.h"
#include "train/report_at_end.h"
#include "train/resume_point.h"
#include "train/run_loop.h"

namespace switchyard::train {
namespace {

// `point`: where to go on from; nullptr = a new run.
RunResult run(const Build& parts, const RunFolder& folder, const ResumePoint* point) {
  const auto communicator = comm::make_self_communicator();
  parallel::RankGroups groups(*communicator, parts.config.parallel.expert);
  const std::unique_ptr<Task> task = make_pretraining_task(parts);
  const StopSignal stop;
  RunLoop loop(parts.config, *task, groups, folder, stop);
  if (point != nullptr) loop.restore(*point);
  RunResult result;
  {
    const ReportAtEnd report(folder.path(), loop);
    result = loop.run();
  }
  loop.side_work().check_last();
  return result;
}

}  // namespace

RunResult pretrain(const config::Config& config) {
  const RunFolder folder = RunFolder::create(config.run.dir);
  log::add_file(folder.log_file());
  return run(build(config), folder, nullptr);
}

RunResult resume(const config::Config& config, const config::AllowedChanges& allowed,
                 std::optional<std::int64_t> from) {
  const RunFolder folder = RunFolder::reopen(config.run.dir);
  log::add_file(folder.log_file());
  ResumePoint point = find_resume_point(folder, config, allowed, from);
  const Build parts = build(config);
  check_data(point, parts.training.fingerprint(), config, allowed);
  tidy_and_tell(point, config, folder);
  return run(parts, folder, &point);
}

}  // namespace switchyard::train
