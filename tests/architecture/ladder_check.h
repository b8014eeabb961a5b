// Reads tests/architecture/ladder.txt and checks every source file against it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace switchyard::architecture {

struct LayerRule {
  std::vector<std::string> layers;     // other layers it may include
  std::vector<std::string> libraries;  // third-party libraries it may include
};

struct Ladder {
  std::map<std::string, LayerRule> layers;                    // key: folder, e.g. "cli/front"
  std::map<std::string, std::vector<std::string>> libraries;  // name -> header prefixes
  std::map<std::string, std::string> forbidden;               // header -> reason
  std::map<std::string, std::string> addresses;               // layer -> file that takes them
  std::string launch_helper;
};

struct Violation {
  std::string file;  // relative to the root
  int line = 0;
  std::string rule;
};

// "file:line: rule" lines, one per violation.
std::string to_string(const std::vector<Violation>& violations);

// Throws std::runtime_error, naming the line, when the table does not parse.
Ladder read_ladder(const std::filesystem::path& file);

// Checks include/switchyard, src, kernels and tests under `root`; files in path order.
std::vector<Violation> check_tree(const std::filesystem::path& root, const Ladder& ladder);

// Number of files that check_tree would look at.
int count_sources(const std::filesystem::path& root);

}  // namespace switchyard::architecture
