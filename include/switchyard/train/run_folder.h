// The folder of one run: what it is called, where its files are, and that only one process writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace switchyard::train {

class RunLock;

class RunFolder {
 public:
  // Makes a new run of `path`: creates and locks the folder. Throws UsageError when it holds a run
  // or anything that is no part of one (config::problem_of_run_folder), or another process, of this
  // machine or another, works in it (named); StorageError when it cannot be made. What was made is
  // removed again with the object, unless write_config() was reached.
  [[nodiscard]] static RunFolder create(const std::filesystem::path& path);
  // Goes on with the run in `path`: locks it and removes what its killed writes left behind; files
  // of others stay, whatever they are called. When the process that worked in it last ended without
  // letting go, `left_by` names it. Throws UsageError when there is no run or another process works
  // in it; StorageError.
  [[nodiscard]] static RunFolder reopen(const std::filesystem::path& path);
  // The folder of a run whose lock another rank holds. Throws StorageError when it is not there:
  // all ranks see the same files.
  [[nodiscard]] static RunFolder of_another_rank(const std::filesystem::path& path);
  ~RunFolder();
  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string left_by() const;  // empty = nobody
  [[nodiscard]] std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  [[nodiscard]] std::filesystem::path samples() const { return path_ / "samples"; }
  [[nodiscard]] std::filesystem::path config_file() const;
  [[nodiscard]] std::filesystem::path metrics_file() const { return path_ / "metrics.jsonl"; }
  [[nodiscard]] std::filesystem::path log_file() const { return path_ / "log.txt"; }

  // Before anything is written or removed in the middle of a run: throws StorageError where the
  // folder that was opened no longer has its name, so that nothing of another one is touched.
  // Without a lock (another rank) there is nothing to go by.
  void check_in_place() const;

  // config.resolved.yaml, with a checksum in its last line: from here on the folder holds a run.
  void write_config(std::string_view yaml) const;
  // Is config.resolved.yaml what write_config() wrote? False after an edit by hand, and for runs of
  // versions that wrote no checksum. Throws StorageError.
  [[nodiscard]] bool has_config_as_written() const;
  // config/data_folders.h.
  void write_data_folders(std::string_view yaml) const;
  void write_environment(std::string_view json) const;
  // samples/step-000500.txt
  [[nodiscard]] std::filesystem::path sample_file(std::int64_t step) const;
  void write_sample(std::int64_t step, std::string_view text) const;

 private:
  RunFolder();
  explicit RunFolder(std::filesystem::path path);
  std::filesystem::path path_;
  std::unique_ptr<RunLock> lock_;      // none for another rank
  std::filesystem::path topmost_new_;  // of the folders that create() made; may be empty
  bool started_here_ = false;
};

}  // namespace switchyard::train
