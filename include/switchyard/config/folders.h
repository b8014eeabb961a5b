// What kind of folder is this? Told from file names alone, without opening anything.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/load.h"

namespace switchyard::config {

inline constexpr const char* kPreparedDataName = "data.json";  // written last by `prepare`
inline constexpr const char* kResolvedConfigName = "config.resolved.yaml";
inline constexpr const char* kCheckpointManifestName = "manifest.json";
inline constexpr const char* kCheckpointsFolderName = "checkpoints";
inline constexpr const char* kSamplesFolderName = "samples";
inline constexpr const char* kRunLockName = "run.lock";
// Of a run that began from another one's weights: which checkpoint they are of, by name and hash.
inline constexpr const char* kOriginName = "origin.json";

// All that `prepare` ever writes into a folder; whatever else is there belongs to somebody else.
inline constexpr std::array<std::string_view, 7> kDataSetFiles = {
    kPreparedDataName, "train.bin",       "train.idx",     "validation.bin",
    "validation.idx",  "tokenizer.model", "tokenizer.json"};

// In the folder of a data set that a new one replaces: the files of the new one that are not yet in
// their places, data.json the last of them. A new data set is there as soon as this folder is, and
// whole at every moment from then on: data_set_file() says where each file is.
inline constexpr const char* kIncomingFolderName = ".switchyard-incoming";
// Where `name`, one of kDataSetFiles, of the data set in `folder` is, or would be.
[[nodiscard]] std::filesystem::path data_set_file(const std::filesystem::path& folder,
                                                  std::string_view name);

// Written by `prepare`, to the end.
[[nodiscard]] bool holds_prepared_data(const std::filesystem::path& folder);
// Does every folder of data that the config names? False when it names none.
[[nodiscard]] bool holds_prepared_data(const DataConfig& data);
// Holds a resolved config: a run, finished or not.
[[nodiscard]] bool holds_run(const std::filesystem::path& folder);
[[nodiscard]] bool is_checkpoint(const std::filesystem::path& folder);
// The file that standard output or standard error goes to: `switchyard pretrain ... >
// runs/a/out.txt` is no reason to refuse runs/a.
[[nodiscard]] bool is_our_output(const std::filesystem::path& path);
// A run with at least one finished checkpoint.
[[nodiscard]] bool holds_run_with_checkpoint(const std::filesystem::path& folder);

// The name of a file in a run's folder that only the run itself writes, under its lock? (Not
// report.html, nor predictions: other commands write these, too.)
[[nodiscard]] bool is_run_file(std::string_view name);
// What in `folder` a new run must not be mixed with, by name, in order: everything but hidden
// files, lost+found, what a start that was killed leaves behind (files of a run, half written ones
// too, beside its `run.lock`, empty checkpoints and samples) and the files that standard output and
// standard error go to. Empty for a folder that is not there.
[[nodiscard]] std::vector<std::string> foreign_to_a_new_run(const std::filesystem::path& folder);
// "run.dir 'x' holds files that are no part of a run (a, b)", or nothing.
[[nodiscard]] std::optional<std::string> problem_of_run_folder(const std::filesystem::path& folder);
// "the run 'runs/a'" when `path` is, or would be, a file that a run, a checkpoint or a data set
// consists of; report.html, which can be written again, is none. Empty otherwise.
[[nodiscard]] std::string owner_of_file(const std::filesystem::path& path);
// What is wrong with a path that begins with `~`, which shells expand only where a word begins;
// nothing for other paths.
[[nodiscard]] std::optional<std::string> problem_of_tilde(std::string_view path);

// A new run can start: its data is there and its folder is free. Throws ConfigError.
void check_folders_of_run(const Resolved& resolved);
// The data of the run in `run`, which is to go on, is there. Throws ConfigError with how to say
// where it is now.
void check_data_of_run(const Resolved& resolved, const std::filesystem::path& run);

// " (did you mean 'configs/quickstart.yaml'?)" from the names beside a missing path, or empty.
[[nodiscard]] std::string path_suggestion(const std::filesystem::path& missing);

}  // namespace switchyard::config
