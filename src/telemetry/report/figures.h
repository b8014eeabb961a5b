// Charts over the steps of one run, and what all charts of a page share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "switchyard/telemetry/read_metrics.h"
#include "telemetry/report/chart.h"

namespace switchyard::telemetry {

inline constexpr std::size_t kMaxPoints = 500;        // of a line
inline constexpr std::size_t kMaxLayerPoints = 4000;  // of all lines of a chart by layer
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

inline constexpr const char* kBlue = "var(--blue)";
inline constexpr const char* kOrange = "var(--orange)";
inline constexpr const char* kGreen = "var(--green)";

// Builds charts over the steps of one run.
class Figures {
 public:
  Figures(const Metrics& metrics, std::optional<std::int64_t> planned_steps);

  [[nodiscard]] const std::set<std::int64_t>& layers() const { return layers_; }
  [[nodiscard]] const std::vector<double>& steps() const { return step_; }

  // A chart with what all charts of the page share.
  [[nodiscard]] Chart chart(std::string title, std::string note = {}) const;
  [[nodiscard]] Series series(std::string name, std::string color,
                              const std::function<double(const StepRecord&)>& value) const;
  // One value of one layer by step; NaN where a record lacks the layer.
  [[nodiscard]] std::vector<double> of_layer(
      std::int64_t layer, const std::function<double(const RoutingRecord&)>& value) const;
  // One line per layer, coloured by depth.
  void add_layers(Chart& chart, const std::function<double(const RoutingRecord&)>& value) const;
  // A chart of one number of the step records.
  [[nodiscard]] std::string single(Chart chart, const char* color,
                                   const std::function<double(const StepRecord&)>& value,
                                   bool largest = false) const;

 private:
  const Metrics& metrics_;
  std::optional<double> x_to_;
  std::vector<double> step_;
  std::set<std::int64_t> layers_;
};

}  // namespace switchyard::telemetry
