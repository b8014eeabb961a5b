#include "train/run/run_records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "switchyard/core/error.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

// No file of this process grows beyond `bytes` while it lives: a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
    const rlimit limit{bytes, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FullDisk() {
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before_), 0);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_ = SIG_DFL;
};

TEST(RunRecords, ADiskThatIsFullForAWhileCostsNoLineAndTearsNone) {
  const TinyRunFolder tiny;
  const RunFolder folder = RunFolder::create(tiny.folder / "run");
  SideWork side_work;
  RunRecords records(&folder, side_work);
  records.begin(1);
  telemetry::StepRecord record;
  const auto write = [&](std::int64_t step) {
    record.step = step;
    records.step(record, {.total_steps = 6, .eta_seconds = 1.0, .loss_name = "loss"});
  };
  write(1);
  {
    const FullDisk full(std::filesystem::file_size(folder.metrics_file()) + 20);
    write(2);  // torn
    write(3);
    write(4);
    records.finish(4);
    EXPECT_THROW(side_work.check_last(), StorageError);
  }
  write(5);
  write(6);
  records.finish(6);
  EXPECT_NO_THROW(side_work.check_last());
  const auto lines = tiny.records();  // parses every one
  ASSERT_EQ(lines.size(), 6U);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["step"].get<std::size_t>(), i + 1);
  }
}

}  // namespace
}  // namespace switchyard::train
