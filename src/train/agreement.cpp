#include "train/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <string_view>

#include "switchyard/comm/text.h"
#include "switchyard/config/values.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/text.h"
#include "switchyard/core/version.h"
#include "switchyard/format/json.h"

namespace switchyard::train {
namespace {

constexpr const char* kName = "what is trained";

std::string text_of(const Facts& facts) {
  format::Json json = format::Json::array();
  for (const auto& [name, value] : facts) json.push_back({name, value});
  return format::json_text(json);
}

std::map<std::string, std::string> parsed(const std::string& text) {
  std::map<std::string, std::string> facts;
  for (const format::Json& fact : format::parse_json(text, kName)) {
    facts[fact[0].get<std::string>()] = fact[1].get<std::string>();
  }
  return facts;
}

// Of rank 0's facts, in their order, the first that another rank has otherwise.
[[noreturn]] void refuse(const Facts& own, const std::vector<std::string>& texts) {
  std::vector<std::map<std::string, std::string>> facts;
  for (const std::string& text : texts) facts.push_back(parsed(text));
  const auto value_of = [&](std::size_t rank, const std::string& name) {
    const auto found = facts[rank].find(name);
    return found == facts[rank].end() ? std::string("none") : found->second;
  };
  std::vector<std::string> names;
  for (const auto& fact : own) names.push_back(fact.first);
  for (const auto& of_rank : facts) {
    for (const auto& fact : of_rank) names.push_back(fact.first);
  }
  for (const std::string& name : names) {
    for (std::size_t rank = 1; rank < facts.size(); ++rank) {
      if (value_of(0, name) == value_of(rank, name)) continue;
      throw UsageError(
          fmt::format("rank {} has other input than rank 0: {} is {}, not {}", rank, name,
                      printable_line(value_of(rank, name)), printable_line(value_of(0, name))),
          "every rank reads the same program, configuration and data: from a folder "
          "that all machines share, or from copies that are alike");
    }
  }
  throw InternalError("facts of ranks differ nowhere");
}

}  // namespace

Facts facts_of(const config::Config& config) {
  constexpr std::array<std::string_view, 4> kFolders = {"run.dir", "run.from", "data.path",
                                                        "data.blend"};
  // Whether there is one decides what ranks do together.
  Facts facts = {{"switchyard's version", kVersion},
                 {"run.from", config.run.from.empty() ? "not set" : "set"}};
  for (auto& [key, value] : config::fields_of(config)) {
    if (std::find(kFolders.begin(), kFolders.end(), key) == kFolders.end()) {
      facts.emplace_back(key, value);
    }
  }
  return facts;
}

Facts facts_of(const Build& parts) {
  return {
      {"the training data's hash", parts.training.fingerprint()},
      {"the validation data's hash", parts.validation ? parts.validation->fingerprint() : "none"}};
}

void check_ranks_agree(comm::Communicator& world, const Facts& own) {
  if (world.size() == 1) return;
  const std::string text = text_of(own);
  const std::vector<std::string> hashes = comm::all_gather_text(world, to_hex(xxh3(text)), kName);
  const bool all_alike = std::all_of(hashes.begin(), hashes.end(), [&](const std::string& each) {
    return each == hashes.front();
  });
  if (!all_alike) refuse(own, comm::all_gather_text(world, text, kName));
}

}  // namespace switchyard::train
