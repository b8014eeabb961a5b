// A run, a file and a config to name on command lines, and what is wrong with a command line.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/options.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::config {

using Arguments = std::vector<std::string>;

class Options : public ::testing::Test {
 protected:
  void SetUp() override {
    write_file_atomically(folder_ / "text.txt", "text");
    write_file_atomically(folder_ / "x.yaml", "");
    make_checkpoint(folder_ / "run" / kCheckpointsFolderName / "step-000010");
    write_file_atomically(folder_ / "run" / kResolvedConfigName, "");
  }

  static void make_checkpoint(const std::filesystem::path& path) {
    std::filesystem::create_directories(path);
    write_file_atomically(path / kCheckpointManifestName, "{}");
    write_file_atomically(path / kResolvedConfigName, "");
  }

  [[nodiscard]] std::string at(const std::string& name) const { return (folder_ / name).string(); }

  static ParsedArguments parse(const std::string& verb, const Arguments& arguments) {
    return parse_arguments(*find_verb(verb), arguments);
  }

  // The lines of what is wrong.
  static std::vector<std::string> problems_of(const std::string& verb, const Arguments& arguments) {
    std::vector<std::string> lines;
    try {
      (void)parse(verb, arguments);
    } catch (const UsageError& error) {
      std::string text = error.what();
      for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
        lines.push_back(text.substr(0, end));
        text = text.substr(end + 1);
      }
      lines.push_back(text);
      EXPECT_EQ(error.hint(), "`switchyard " + verb + " --help` shows how to call it");
    }
    return lines;
  }

  // All of them in one text; empty = nothing is wrong.
  static std::string problem_of(const std::string& verb, const Arguments& arguments) {
    std::string text;
    for (const std::string& line : problems_of(verb, arguments)) text += line;
    return text;
  }

  switchyard::testing::TemporaryFolder folder_;
};

}  // namespace switchyard::config
