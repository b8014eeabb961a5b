// A shell command run in a folder: exit code, standard output and standard error.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

#include "switchyard/core/file.h"

namespace switchyard::testing {

struct Answer {
  int code = -1;  // -1: not started, or ended by a signal
  std::string output;
  std::string errors;
};

// `program` with its arguments, as a shell reads them; "stderr" is written in `folder`.
inline Answer run_in(const std::filesystem::path& folder, const std::string& program) {
  const std::filesystem::path errors = folder / "stderr";
  const std::string command =
      "cd '" + folder.string() + "' && exec " + program + " 2>'" + errors.string() + "'";
  Answer answer;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return answer;
  std::array<char, 4096> buffer{};
  for (std::size_t got = 0; (got = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    answer.output.append(buffer.data(), got);
  }
  const int status = pclose(pipe);
  answer.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  answer.errors = read_file(errors);
  return answer;
}

}  // namespace switchyard::testing
