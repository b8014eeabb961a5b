#include "switchyard/inference/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

namespace switchyard::inference {
namespace {

std::vector<double> losses(const std::function<double(double temperature)>& loss) {
  std::vector<double> all;
  for (const double temperature : tried_temperatures()) all.push_back(loss(temperature));
  return all;
}

TEST(BestTemperature, IsWhereTheParabolaOverItsLogarithmIsLowest) {
  for (const double least : {0.9, 1.0, 1.234, 2.2}) {
    const auto loss = [least](double t) { return 3.0 + std::pow(std::log(t / least), 2); };
    EXPECT_NEAR(best_temperature(losses(loss)).value(), least, 1e-12);
  }
}

TEST(BestTemperature, StaysWithinWhatIsTried) {
  EXPECT_EQ(best_temperature(losses([](double t) { return t; })), tried_temperatures().front());
  EXPECT_EQ(best_temperature(losses([](double t) { return -t; })), tried_temperatures().back());
}

TEST(BestTemperature, IsOneWhereNoneIsBetterAndNoneWhereALossIsNoNumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(best_temperature(losses([nan](double t) { return t > 2.0 ? nan : 1.0; })),
            std::nullopt);
  EXPECT_EQ(best_temperature(losses([](double) { return 3.0; })), 1.0);
}

}  // namespace
}  // namespace switchyard::inference
