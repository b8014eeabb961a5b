// Walks the field table: every row must be complete, and its rules must hold when a file uses them.
#include "switchyard/config/field_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <set>
#include <string>

#include "config/yaml/value.h"
#include "loading.h"

namespace switchyard::config {

// For the names of failing rows.
inline void PrintTo(const Field& field, std::ostream* out) {
  *out << field.key;
}

namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

bool is_number(const Field& field) {
  const std::string type = field.type_name();
  return type.find("integer") != std::string::npos || type.find("number") != std::string::npos;
}

std::vector<ValueProblem> assign_text(const Field& field, const std::string& text, Config& config) {
  Problems problems;
  const Position position{.name = std::make_shared<const std::string>("test")};
  const auto node = parse_value(text, position, field.key, problems);
  EXPECT_TRUE(node.has_value()) << field.key << ": " << text;
  return node ? assign(field, *node, config) : std::vector<ValueProblem>{{position, "unread"}};
}

// With a router that knows the field.
Config config_for(const Field& field) {
  Config config;
  if (!field.router_types.empty()) config.model.moe.router = RouterConfig(field.router_types[0]);
  return config;
}

class Row : public testing::TestWithParam<Field> {};

TEST_P(Row, HasHelpOnOneLine) {
  EXPECT_FALSE(GetParam().help.empty());
  EXPECT_EQ(GetParam().help.find('\n'), std::string::npos);
}

TEST_P(Row, NumbersHaveAUnit) {
  EXPECT_EQ(is_number(GetParam()) && GetParam().unit.empty(), false);
}

TEST_P(Row, DefaultParsesAndIsTheOneOfTheStruct) {
  const Field& field = GetParam();
  if (field.default_kind != DefaultKind::kValue) {
    EXPECT_EQ(field.default_text.empty(), field.default_kind == DefaultKind::kRequired);
    return;
  }
  Config config = config_for(field);
  EXPECT_THAT(assign_text(field, field.default_text, config), IsEmpty());
  EXPECT_EQ(value_text(field, config), value_text(field, config_for(field)));
}

TEST_P(Row, NumbersOutsideTheRangeAreRefused) {
  const Field& field = GetParam();
  if (!is_number(field)) return;
  const bool is_list = field.type_name().starts_with("list");
  const auto refused = [&](double value) {
    Config config = config_for(field);
    const std::string text = is_list ? fmt::format("[{}]", value) : fmt::format("{}", value);
    return !assign_text(field, text, config).empty();
  };
  const double minimum = field.range.minimum;
  const double maximum = field.range.maximum;
  if (std::isfinite(minimum)) {
    EXPECT_TRUE(refused(minimum - 1));
    EXPECT_EQ(refused(minimum), field.range.minimum_open);
  }
  if (std::isfinite(maximum)) {
    EXPECT_TRUE(refused(maximum + 1));
    EXPECT_EQ(refused(maximum), field.range.maximum_open);
  }
}

TEST_P(Row, WrongTypesAreRefusedWithTheKey) {
  const Field& field = GetParam();
  if (field.router_types.size() == 1 && field.router_types[0] != "top_p") return;
  const std::string wrong = field.type_name() == "text" ? "{a: [b]}" : "\"a\\tb\"";
  // Text on the command line is taken as it is, so the wrong type comes in a file.
  std::string yaml;
  std::string indent;
  std::string rest = field.key;
  for (std::size_t dot = rest.find('.'); dot != std::string::npos; dot = rest.find('.')) {
    yaml += indent + rest.substr(0, dot) + ":\n";
    indent += "  ";
    rest = rest.substr(dot + 1);
  }
  yaml += indent + rest + ": " + wrong + "\n";
  EXPECT_THAT(problems_of(yaml), Contains(HasSubstr(": " + field.key + ": expected ")));
}

TEST_P(Row, ChoicesAreEnforced) {
  const Field& field = GetParam();
  Config config = config_for(field);
  for (const std::string& choice : field.choices) {
    EXPECT_THAT(assign_text(field, choice, config), IsEmpty());
    EXPECT_EQ(value_text(field, config), choice);
  }
  if (!field.choices.empty()) {
    EXPECT_FALSE(assign_text(field, "no_such_choice", config).empty());
  }
}

std::string name_of(const testing::TestParamInfo<Field>& row) {
  std::string name = row.param.key;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fields, Row, testing::ValuesIn(all_fields().begin(), all_fields().end()),
                         name_of);

TEST(FieldTable, KeysAreUniqueAndNoKeyIsAlsoAGroup) {
  std::set<std::string> keys;
  for (const Field& field : all_fields()) {
    EXPECT_TRUE(keys.insert(field.key).second) << field.key;
    EXPECT_FALSE(is_group(field.key)) << field.key;
    EXPECT_EQ(find_field(field.key), &field);
  }
}

TEST(FieldTable, OnlyRouterOptionsHaveRouterTypes) {
  for (const Field& field : all_fields()) {
    if (!field.router_types.empty()) {
      EXPECT_TRUE(field.key.starts_with(kRouterPrefix)) << field.key;
    }
  }
}

TEST(FieldTable, GroupsListTheirNames) {
  EXPECT_THAT(names_in_group(""), testing::ElementsAre("run", "data", "model", "optim", "schedule",
                                                       "train", "parallel", "finetune"));
  EXPECT_THAT(names_in_group("run"), testing::ElementsAre("dir", "seed", "from"));
  EXPECT_TRUE(is_group("model.moe.router"));
  EXPECT_FALSE(is_group("model.moe.rout"));
  EXPECT_FALSE(is_group("nothing"));
}

TEST(RangeText, SaysWhichEndsBelong) {
  EXPECT_EQ((Range{.minimum = 0, .maximum = 1, .minimum_open = true}).text(), "in (0, 1]");
  EXPECT_EQ((Range{.minimum = 0, .maximum = 1, .maximum_open = true}).text(), "in [0, 1)");
  EXPECT_EQ((Range{.minimum = 2}).text(), ">= 2");
  EXPECT_EQ((Range{.maximum = 2, .maximum_open = true}).text(), "< 2");
  EXPECT_EQ(Range{}.text(), "");
}

}  // namespace
}  // namespace switchyard::config
