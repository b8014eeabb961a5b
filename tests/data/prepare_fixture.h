// A folder of input files, and `prepare` from them into a folder beside.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/data/prepare.h"

namespace switchyard::data {

class PrepareFixture : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    write_file_atomically(folder_ / name, content);
    return (folder_ / name).string();
  }
  PrepareOptions options(std::vector<std::string> inputs, const std::string& tokenizer = "bytes") {
    PrepareOptions result;
    result.inputs = std::move(inputs);
    result.tokenizer = tokenizer;
    result.output = folder_ / "out";
    return result;
  }

  static std::string hint_of(const PrepareOptions& what) {
    try {
      (void)prepare(what);
    } catch (const DataError& error) {
      return error.hint();
    }
    return "no error";
  }

  testing::TemporaryFolder folder_;
};

}  // namespace switchyard::data
