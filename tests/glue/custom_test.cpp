// Tasks of the user's own.
#include "glue/files/custom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "switchyard/core/error.h"

namespace switchyard::glue {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

config::FinetuneConfig columns(const std::string& label = "label") {
  config::FinetuneConfig config;
  config.text_column = "note";
  config.label_column = label;
  return config;
}

TEST(Custom, LabelsAreThoseOfTheTrainingRowsInAnOrderOfTheirOwn) {
  const config::FinetuneConfig config = columns();
  EXPECT_EQ(labels_in("label\tnote\nno\ta\nyes\tb\nmaybe\tc\nno\td\n", "t.tsv", config),
            "maybe,no,yes");
  EXPECT_EQ(labels_in("label\tnote\n10\ta\n9\tb\n-1\tc\n", "t.tsv", config), "-1,9,10");
  EXPECT_EQ(labels_in("{\"note\": \"a\", \"label\": true}\n{\"label\": false, \"note\": \"b\"}\n",
                      "t.jsonl", config),
            "false,true");
  EXPECT_EQ(labels_in("label\tnote\n1.0\ta\n0\tb\n1\tc\n", "t.tsv", config), "0,1")
      << "1.0 is the class 1";
}

TEST(Custom, RowsOfBothKindsOfFilesAreTheSame) {
  config::FinetuneConfig config = columns("verdict");
  config.pair_column = "answer";
  config.labels = "bad,good";
  const Task task = custom_task(config);
  const RowSet tsv =
      parse_custom_rows("verdict\tnote\tother\tanswer\ngood\ta \"b\tx\tyes\nbad\tc\ty\tno\n",
                        "t.tsv", task, config, Part::dev);
  const RowSet jsonl = parse_custom_rows(
      "{\"note\": \"a \\\"b\", \"answer\": \"yes\", \"verdict\": \"good\"}\n"
      "{\"note\": \"c\", \"answer\": \"no\", \"verdict\": \"bad\", \"more\": [1]}\n",
      "t.jsonl", task, config, Part::dev);
  for (const RowSet* set : {&tsv, &jsonl}) {
    ASSERT_EQ(set->rows.size(), 2U);
    EXPECT_EQ(set->rows[0].text_a, "a \"b");
    EXPECT_EQ(set->rows[0].text_b, "yes");
    EXPECT_EQ(set->rows[0].label, 1.0);
    EXPECT_EQ(set->rows[1].label, 0.0);
    EXPECT_EQ(set->rows[1].index, "1");
  }
  EXPECT_EQ(tsv.rows[0].line, 2U);
  EXPECT_EQ(jsonl.rows[0].line, 1U);
  EXPECT_TRUE(task.has_pairs());
}

TEST(Custom, ATestFileNeedsNoLabelAndKeepsItsIndex) {
  config::FinetuneConfig config = columns();
  config.labels = "no,yes";
  const RowSet set =
      parse_custom_rows("index\tnote\nq7\ta\n", "t.tsv", custom_task(config), config, Part::test);
  EXPECT_EQ(set.rows[0].index, "q7");
  const RowSet json = parse_custom_rows("{\"note\": \"a\", \"index\": 4}\n{\"note\": \"b\"}\n",
                                        "t.jsonl", custom_task(config), config, Part::test);
  EXPECT_EQ(json.rows[0].index, "4");
  EXPECT_EQ(json.rows[1].index, "1");
}

TEST(Custom, OfTwoClassesTheSecondHasAnF1AndNumbersHaveCorrelations) {
  config::FinetuneConfig config = columns();
  config.labels = "no,yes";
  EXPECT_EQ(custom_task(config).metrics, (std::vector{Metric::accuracy, Metric::f1}));
  config.labels = "a,b,c";
  EXPECT_EQ(custom_task(config).metrics, std::vector{Metric::accuracy});
  EXPECT_EQ(custom_task(config).num_outputs(), 3U);
  config.regression = true;
  const Task task = custom_task(config);
  EXPECT_TRUE(task.is_regression());
  EXPECT_EQ(parse_custom_rows("note\tlabel\na\t-12.5\n", "t.tsv", task, config, Part::train)
                .rows[0]
                .label,
            -12.5);
}

TEST(Custom, TheSettingThatDecidesIsNamed) {
  config::FinetuneConfig config = columns();
  config.pair_column = "answer";
  config.labels = "no,yes";
  const Task task = custom_task(config);
  const auto hint_of = [&](const std::string& text, const std::string& name) {
    try {
      (void)parse_custom_rows(text, name, task, config, Part::dev);
    } catch (const DataError& error) {
      return error.hint();
    }
    return std::string("nothing");
  };
  EXPECT_THAT(hint_of("text\tanswer\tlabel\n", "t.tsv"), HasSubstr("finetune.text_column"));
  EXPECT_THAT(hint_of("note\tother\tlabel\n", "t.tsv"), HasSubstr("finetune.pair_column"));
  EXPECT_THAT(hint_of("note\tanswer\tclass\n", "t.tsv"), HasSubstr("finetune.label_column"));
  EXPECT_THAT(hint_of("{\"text\": \"a\"}\n", "t.jsonl"), HasSubstr("finetune.text_column"));
  EXPECT_THAT(hint_of("{\"note\": \"a\", \"answer\": \"b\"}\n", "t.jsonl"),
              HasSubstr("finetune.label_column"));
  EXPECT_THAT(hint_of("note\tanswer\tlabel\na\tb\tperhaps\n", "t.tsv"),
              HasSubstr("finetune.labels"));
}

TEST(Custom, WhatIsWrongIsNamedByFileAndLine) {
  config::FinetuneConfig config = columns();
  config.labels = "no,yes";
  const Task task = custom_task(config);
  const auto parse = [&](const std::string& text, const std::string& name) {
    return [&, text, name] { (void)parse_custom_rows(text, name, task, config, Part::dev); };
  };
  EXPECT_THAT(parse("text\tlabel\na\tno\n", "t.tsv"),
              ThrowsMessage<DataError>(HasSubstr("t.tsv:1: no column 'note'; there are: text")));
  EXPECT_THAT(
      parse("note\tlabel\na\tno\nb\tperhaps\n", "t.tsv"),
      ThrowsMessage<DataError>(HasSubstr("t.tsv:3: unknown label 'perhaps', expected no or yes")));
  EXPECT_THAT(parse("note\tlabel\na\tno\tmore\n", "t.tsv"),
              ThrowsMessage<DataError>(HasSubstr("t.tsv:2: 3 fields")));
  EXPECT_THAT(parse("note\tlabel\n", "t.tsv"), ThrowsMessage<DataError>(HasSubstr("no rows")));
  EXPECT_THAT(parse("{\"note\": \"a\"}\n", "t.jsonl"),
              ThrowsMessage<DataError>(AllOf(HasSubstr("t.jsonl:1"), HasSubstr("label"))));
  EXPECT_THAT(parse("{\"note\": \"a\", \"label\": [1]}\n", "t.jsonl"),
              ThrowsMessage<DataError>(HasSubstr("t.jsonl:1: 'label' is [1], expected a text")));
  EXPECT_THAT(parse("{\"note\": \"a\", \"label\": \"no\"}\nnot json\n", "t.jsonl"),
              ThrowsMessage<DataError>(HasSubstr("t.jsonl:2")));
  EXPECT_THAT([&] { (void)labels_in("note\tlabel\na\tno\nb\tno\n", "t.tsv", config); },
              ThrowsMessage<DataError>(HasSubstr("every row has the label 'no'")));
  EXPECT_THAT([&] { (void)labels_in("note\tlabel\na\tno,yes\nb\tno\n", "t.tsv", config); },
              ThrowsMessage<DataError>(HasSubstr("t.tsv:2: the label 'no,yes' has a comma")));
  EXPECT_THAT([&] { (void)labels_in("note\tlabel\na\tno\x1B[31m\nb\tno\n", "t.tsv", config); },
              ThrowsMessage<DataError>(HasSubstr("t.tsv:2: the label 'no")));
  EXPECT_THAT(
      [&] {
        (void)parse_custom_rows("{\"note\": \"a\"}\n{\"note\": \"b\", \"index\": \"1\\t2\"}\n",
                                "t.jsonl", task, config, Part::test);
      },
      ThrowsMessage<DataError>(HasSubstr("t.jsonl:2: the index '1")));
  config.labels = "a\tb,c";
  EXPECT_THAT([&] { (void)custom_task(config); },
              ThrowsMessage<DataError>(HasSubstr("finetune.labels: the class 'a")));
  config.labels = "no";
  EXPECT_THROW((void)custom_task(config), UsageError);
  config.labels = "no,no";
  EXPECT_THROW((void)custom_task(config), UsageError);
}

}  // namespace
}  // namespace switchyard::glue
