#include "telemetry/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "telemetry/markup.h"
#include "telemetry/report/axis.h"
#include "telemetry/report/heat_map.h"
#include "telemetry/report/html.h"

namespace switchyard::telemetry {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> texts(const std::vector<Tick>& ticks) {
  std::vector<std::string> result;
  for (const Tick& tick : ticks) result.push_back(tick.text);
  return result;
}

TEST(Ticks, AreRoundAndNamedWithTheDigitsTheyNeed) {
  EXPECT_THAT(texts(ticks({0.0, 2000.0}, 5, true, false)),
              ElementsAre("0", "500", "1k", "1.5k", "2k"));
  EXPECT_THAT(texts(ticks({2.9, 8.1}, 4, false, false)), ElementsAre("4", "6", "8"));
  EXPECT_THAT(texts(ticks({0.0, 0.005}, 4, false, false)), ElementsAre("0", "0.002", "0.004"));
  EXPECT_THAT(texts(ticks({0.0, 2e-5}, 4, false, false)),
              ElementsAre("0", "5e-06", "1e-05", "1.5e-05", "2e-05"));
  EXPECT_THAT(texts(ticks({0.0, 0.45}, 4, false, true)), ElementsAre("0%", "20%", "40%"));
  EXPECT_THAT(texts(ticks({0.0, 1.0}, 5, true, false)), ElementsAre("0", "1"));
}

TEST(Range, IgnoresWhatIsNotFiniteAndNeverIsEmpty) {
  Range range;
  EXPECT_LT(range.axis(0.0, 0.0).low, range.axis(0.0, 0.0).high);
  range.add(kNan);
  range.add(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(range.empty());
  range.add(3.0);
  const Axis point = range.axis(0.1, 0.1);
  EXPECT_LT(point.low, 3.0);
  EXPECT_GT(point.high, 3.0);
  range.add(5.0);
  EXPECT_EQ(range.axis(0.5, 0.25).low, 2.0);
  EXPECT_EQ(range.axis(0.5, 0.25).high, 5.5);
}

// x from 0 to 10, y from 0 to 10 and 5 % more: (5, 10.5) is at the top in the middle.
TEST(Chart, LinesGoWhereTheNumbersSay) {
  Chart chart{.title = "t"};
  chart.y_from = 0.0;
  chart.series.push_back(
      {.name = "s", .color = "red", .x = {0.0, 5.0, 10.0}, .y = {0.0, 10.0, 5.0}});
  const std::string text = draw(chart);
  EXPECT_EQ(markup_problem(text), "");
  EXPECT_THAT(text, HasSubstr("d=\"M0 1000L500 47.62L1000 523.81\""));
  EXPECT_THAT(text, HasSubstr("&quot;x&quot;:[0,5,10],&quot;y&quot;:[0,10,5]"));
}

TEST(Chart, AxisThatBeginsAtZeroStillShowsWhatIsBelow) {
  Chart chart{.title = "t"};
  chart.y_from = 0.0;
  chart.series.push_back({.name = "s", .color = "red", .x = {0.0, 1.0}, .y = {-10.0, 10.0}});
  EXPECT_THAT(draw(chart), HasSubstr("d=\"M0 954.55L1000 45.45\""));
}

TEST(Chart, GapsBreakALineAndLonePointsAreDots) {
  Chart chart{.title = "t"};
  chart.y_from = 0.0;
  chart.series.push_back({.name = "s",
                          .color = "red",
                          .x = {0.0, 1.0, 2.0, 3.0, 4.0},
                          .y = {0.0, 0.0, kNan, 0.0, kNan}});
  const std::string text = draw(chart);
  EXPECT_THAT(text, HasSubstr("d=\"M0 1000L250 1000M750 1000h0\""));
  EXPECT_THAT(text, HasSubstr("[0,0,null,0,null]"));
}

TEST(Chart, WithoutAFinitePointSaysSo) {
  Chart chart{.title = "t"};
  chart.series.push_back({.name = "s", .color = "red", .x = {1.0}, .y = {kNan}});
  EXPECT_THAT(draw(chart), HasSubstr("No values yet."));
  EXPECT_THAT(draw(chart), Not(HasSubstr("<svg")));
}

TEST(Chart, LegendOfManySeriesShowsItsEnds) {
  Chart chart{.title = "t"};
  for (int i = 0; i < 20; ++i) {
    chart.series.push_back(
        {.name = "layer " + std::to_string(i), .color = "red", .x = {1.0, 2.0}, .y = {1.0, 2.0}});
  }
  const std::string text = draw(chart);
  EXPECT_THAT(text, HasSubstr("</i>layer 0</span>"));
  EXPECT_THAT(text, HasSubstr("</i>layer 19</span>"));
  EXPECT_THAT(text, Not(HasSubstr("</i>layer 10</span>")));
}

TEST(Chart, NamesCategoriesInThePlaceOfSteps) {
  Chart chart{.title = "t"};
  chart.series.push_back({.name = "s", .color = "red", .x = {0.0, 1.0}, .y = {1.0, 2.0}});
  EXPECT_THAT(draw(chart), HasSubstr(">step 0<"));
  chart.categories = {"\"few\" <", "more", "most"};  // the last one without a point
  const std::string text = draw(chart);
  EXPECT_EQ(markup_problem(text), "");
  EXPECT_THAT(text, HasSubstr("left:50%\">more<"));
  EXPECT_THAT(text, HasSubstr("left:100%\">most<"));
  EXPECT_THAT(text, HasSubstr("&quot;names&quot;:[&quot;few &lt;&quot;,&quot;more&quot;,"));
  EXPECT_THAT(text, Not(HasSubstr(">step ")));
}

TEST(Thinned, KeepsMeansOrMaximaOfEqualParts) {
  const Series series{
      .name = "s", .color = "red", .x = {1, 2, 3, 4, 5, 6}, .y = {1, 3, kNan, 5, kNan, kNan}};
  const Series means = thinned(series, 3);
  EXPECT_THAT(means.x, ElementsAre(2.0, 4.0, 6.0));
  EXPECT_EQ(means.y[0], 2.0);
  EXPECT_EQ(means.y[1], 5.0);
  EXPECT_TRUE(std::isnan(means.y[2]));
  EXPECT_EQ(thinned(series, 3, true).y[0], 3.0);
  EXPECT_EQ(thinned(series, 6).x, series.x);
}

TEST(Trend, FollowsALineExactlyAndSmoothsNoise) {
  Series series{.name = "s", .color = "red"};
  for (int i = 0; i < 100; ++i) {
    series.x.push_back(i);
    series.y.push_back(100.0 - i);
  }
  const auto both = with_trend(series);
  ASSERT_EQ(both.size(), 2U);
  EXPECT_TRUE(both[0].faint);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_THAT(both[1].y[i], DoubleNear(series.y[i], 1e-9));
  for (std::size_t i = 0; i < 100; ++i) series.y[i] = i % 2 == 0 ? 1.0 : -1.0;
  EXPECT_LT(std::abs(with_trend(series)[1].y[50]), 0.5);
  series.x.resize(10);
  series.y.resize(10);
  EXPECT_EQ(with_trend(series).size(), 1U);  // too short to be noisy
}

TEST(HeatMap, ColoursMoreAndLessThanEvenAndMarksTheDead) {
  const HeatMap map{.title = "t",
                    .scale = HeatMap::Scale::kRelative,
                    .rows = {"layer 1"},
                    .columns = {"0", "1", "2", "3"},
                    .cells = {{1.0, 4.0, 0.5, 0.0}}};
  const std::string text = draw(map);
  EXPECT_EQ(markup_problem(text), "");
  EXPECT_THAT(text, HasSubstr("class=\"over\" x=\"1\" y=\"0\" width=\"1\" height=\"1\" "
                              "fill-opacity=\"1\""));
  EXPECT_THAT(text, HasSubstr("class=\"under\" x=\"2\" y=\"0\" width=\"1\" height=\"1\" "
                              "fill-opacity=\"0.5\""));
  EXPECT_THAT(text, HasSubstr("class=\"dead\" x=\"3\""));
  EXPECT_THAT(text, HasSubstr("<title>layer 1, 1: 4</title>"));
}

TEST(Bars, AreAsHighAsTheirShareOfTheLargest) {
  const std::string text = draw(Bars{.title = "t", .bars = {{"1", 0.6}, {"2", 0.3}}});
  EXPECT_EQ(markup_problem(text), "");
  EXPECT_THAT(text, HasSubstr("<span>60%</span><i style=\"height:100%\">"));
  EXPECT_THAT(text, HasSubstr("<span>30%</span><i style=\"height:50%\">"));
}

TEST(Html, EscapesMarkupAndReplacesWhatIsNoText) {
  EXPECT_EQ(html::escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(html::escape("gr\u00fc\u00df \u4e16\n\t"), "gr\u00fc\u00df \u4e16\n\t");
  EXPECT_EQ(html::escape(std::string_view("\x00\x1b\xff", 3)), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(html::escape("a\r\nb"), "a\nb");
}

TEST(Html, NumbersAreShort) {
  EXPECT_EQ(html::number(3.41234), "3.412");
  EXPECT_EQ(html::number(51234.0), "51.2k");
  EXPECT_EQ(html::number(3e-6), "3e-06");
  EXPECT_EQ(html::number(0.0), "0");
  EXPECT_EQ(html::number(kNan), "not finite");
  EXPECT_EQ(html::coordinate(12.346), "12.35");
  EXPECT_EQ(html::coordinate(1000.0), "1000");
  EXPECT_EQ(html::coordinate(-0.001), "0");
  EXPECT_EQ(html::percent(0.443), "44%");
  EXPECT_EQ(html::percent(0.0123), "1.2%");
  EXPECT_EQ(html::percent(0.0003), "<0.1%");
  EXPECT_EQ(html::percent(0.0), "0%");
}

}  // namespace
}  // namespace switchyard::telemetry
