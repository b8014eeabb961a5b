// What others come to on the tasks, for scale: figures that were published or measured elsewhere,
// none of them by this program.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace switchyard::glue {

struct Reference {
  std::string name;    // of its column
  std::string source;  // what it is, for a note
};

[[nodiscard]] std::span<const Reference> references();

// The figure of that reference for a task and a metric's key ("accuracy_mm"), as a share of 1.
[[nodiscard]] std::optional<double> reference_figure(const Reference& reference,
                                                     std::string_view task, std::string_view key);

}  // namespace switchyard::glue
