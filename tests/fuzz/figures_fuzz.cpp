// results.json of a finetune that someone else ran: what `compare` and --baseline rely on.
#include <cmath>
#include <set>
#include <string>

#include "fuzz/fuzz.h"
#include "glue/comparison/parse_figures.h"
#include "switchyard/core/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using switchyard::fuzz::require;
  (void)switchyard::fuzz::reads([&] {
    std::set<std::string> tasks;
    for (const auto& task :
         switchyard::glue::parse_figures(switchyard::fuzz::as_text(data, size), "results.json")) {
      require(tasks.insert(task.task).second, "names of tasks are distinct");
      require(switchyard::printable(task.task) == task.task, "names are printable");
      std::set<std::uint64_t> seeds;
      double tokens = 0.0;
      for (const auto& seed : task.seeds) {
        require(seeds.insert(seed.seed).second, "seeds of a task are distinct");
        tokens += seed.cost ? static_cast<double>(seed.cost->tokens) : 0.0;
        require(!seed.diverged || seed.metrics.empty(), "a diverged seed has no metrics");
        for (const auto& [key, value] : seed.metrics) {
          require(std::isnan(value) || std::abs(value) < 1.1, "a metric is a share or none");
        }
      }
      require(tokens < 9e18, "tokens of all seeds have a sum");
    }
  });
  return 0;
}
