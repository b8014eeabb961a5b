// Values that are wrong by themselves: exact messages, positions and suggestions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "loading.h"

namespace switchyard::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(UnknownKey, SuggestsItsSibling) {
  EXPECT_THAT(problems_of_minimal({}, "    routr: {p: 0.5}\n"),
              ElementsAre("x.yaml:15:5: unknown key 'routr' (did you mean 'router'?)"));
}

TEST(UnknownKey, SuggestsTheRightGroup) {
  EXPECT_THAT(problems_of_minimal({}, "learning_rate: 1e-3\n"),
              ElementsAre("x.yaml:15:1: unknown key 'learning_rate' (did you mean "
                          "'optim.learning_rate'?)"));
}

TEST(UnknownKey, FarFromEverythingHasNoSuggestion) {
  EXPECT_THAT(problems_of_minimal({}, "temperature: 1\n"),
              ElementsAre("x.yaml:15:1: unknown key 'temperature'"));
}

TEST(UnknownKey, DottedKeyInAFileIsExplained) {
  EXPECT_THAT(problems_of_minimal({}, "train.log_every: 5\n"),
              ElementsAre("x.yaml:15:1: unknown key 'train.log_every' (dotted keys are for the "
                          "command line; in a file, nest them)"));
}

TEST(UnknownKey, ControlCharactersAreEscaped) {
  EXPECT_THAT(problems_of_minimal({}, "\"a\\u001b[31m\\n\": 1\n"),
              ElementsAre("x.yaml:15:1: unknown key 'a\\x1b[31m\\x0a'"));
}

TEST(UnknownKey, OnTheCommandLineNamesTheWholeKey) {
  EXPECT_THAT(
      problems_of_minimal({"model.moe.routr.p=0.5", "modle.moe=1", "train.steps.x=1", "=1"}),
      ElementsAre("command line: model.moe.routr.p: unknown key 'routr' (did you mean 'router'?)",
                  "command line: modle.moe: unknown key 'modle' (did you mean 'model'?)",
                  "command line: train.steps: expected an integer, got a map",
                  "command line: '=1' is not of the form key.sub=value"));
}

TEST(Override, NeedsAnEqualsSign) {
  EXPECT_THAT(problems_of_minimal({"train.steps"}),
              ElementsAre("command line: 'train.steps' is not of the form key.sub=value"));
}

TEST(Override, ExtendsBelongsInAFile) {
  EXPECT_THAT(problems_of_minimal({"extends=base.yaml"}),
              ElementsAre("command line: extends: unknown key 'extends'"));
}

TEST(Override, BrokenYamlIsReportedWithItsKey) {
  EXPECT_THAT(problems_of_minimal({"optim.betas=[0.9, 0.95"}),
              ElementsAre(HasSubstr("command line: optim.betas: not valid YAML: ")));
}

TEST(Values, EveryMistakeIsReportedAtOnceInOrder) {
  const std::string text = R"(run:
  dir: 7
  seed: -1
data:
  path: data/x
  sequence_length: 1
  attend_across_documents: yes
train:
  steps: 2.5
  precision: bf61
  log_every: [1]
optim:
  learning_rate: fast
  betas: 0.9
  eps: .nan
model:
  hidden_size: "64"
  num_layers:
  num_heads: 4
  moe:
    router: {p: 1.5, type: top_p, max_experts: 0}
)";
  EXPECT_THAT(
      problems_of(text, {"optim.clip_norm=-1", "model.dropout=1"}),
      ElementsAre(
          "x.yaml:3:9: run.seed: expected an integer >= 0, got '-1'",
          "x.yaml:6:20: data.sequence_length: must be in [2, 1048576], got 1",
          "x.yaml:7:28: data.attend_across_documents: expected true or false, got 'yes'",
          "x.yaml:9:10: train.steps: expected an integer, got '2.5'",
          "x.yaml:10:14: train.precision: must be one of fp32, bf16, fp64, got 'bf61' (did you "
          "mean 'bf16'?)",
          "x.yaml:11:14: train.log_every: expected an integer, got a list",
          "x.yaml:13:18: optim.learning_rate: expected a finite number, got 'fast'",
          "x.yaml:14:10: optim.betas: expected a list of numbers, got '0.9'",
          "x.yaml:15:8: optim.eps: expected a finite number, got '.nan'",
          "x.yaml:17:16: model.hidden_size: expected an integer, got the text \"64\"",
          "x.yaml:18:3: model.num_layers: expected an integer, got nothing",
          "x.yaml:21:17: model.moe.router.p: must be in (0, 1], got 1.5",
          "x.yaml:21:48: model.moe.router.max_experts: must be in [1, 65536], got 0",
          "command line: optim.clip_norm: must be >= 0, got -1",
          "command line: model.dropout: must be in [0, 1), got 1"));
}

TEST(Values, ListItemsAndMapMembersHaveTheirOwnPositions) {
  const std::string text = minimal_with(R"(    layers: [0, one, 2, -1]
    router:
      p_warmup: {from: 2, stebs: 3}
optim:
  betas:
    - 0.9
    - 1
)");
  EXPECT_THAT(
      problems_of(text),
      ElementsAre("x.yaml:15:17: model.moe.layers: item 2 expected an integer, got 'one'",
                  "x.yaml:15:25: model.moe.layers: item 4 must be in [0, 10000], got -1",
                  "x.yaml:17:24: model.moe.router.p_warmup: from must be in (0, 1], got 2",
                  "x.yaml:17:27: model.moe.router.p_warmup: unknown key 'stebs' (did you mean "
                  "'steps'?)",
                  "x.yaml:21:7: optim.betas: item 2 must be in [0, 1), got 1"));
}

TEST(Values, BlendItemsAreChecked) {
  EXPECT_THAT(problems_of_minimal({"data.path=", "data.blend=[{path: a, weight: 0}, {weight: 1}]"}),
              ElementsAre("command line: data.blend: weight must be > 0, got 0",
                          "command line: data.blend: every item needs a path"));
  EXPECT_THAT(problems_of_minimal({"data.path=", "data.blend=[a, {pth: b}]"}),
              ElementsAre("command line: data.blend: expected a map {path, weight}, got 'a'",
                          "command line: data.blend: every item needs a path",
                          "command line: data.blend: unknown key 'pth' (did you mean 'path'?)",
                          "command line: data.blend: every item needs a path"));
}

TEST(Values, GroupGivenAsAValueNamesItsKeys) {
  EXPECT_THAT(
      problems_of("run: x\n", {"data.path=d", "train.steps=1", "model.preset=tiny"}),
      ElementsAre("x.yaml:1:6: run: expected a map with keys such as dir, seed, from, got 'x'"));
}

TEST(Values, EmptyGroupIsNoGroup) {
  EXPECT_THAT(problems_of_minimal({}, "optim:\n  # learning_rate: 1\nschedule:\n"), IsEmpty());
}

TEST(Numbers, ScientificNotationIsANumber) {
  const Config config =
      load_minimal({"optim.learning_rate=1e-3", "optim.eps=1E-9", "train.steps=2e3",
                    "model.rope_theta=+5e5", "run.seed=1e2", "optim.weight_decay=.5"})
          .config;
  EXPECT_EQ(config.optim.learning_rate, 1e-3);
  EXPECT_EQ(config.optim.eps, 1e-9);
  EXPECT_EQ(config.train.steps, 2000);
  EXPECT_EQ(config.model.rope_theta, 5e5);
  EXPECT_EQ(config.run.seed, 100U);
  EXPECT_EQ(config.optim.weight_decay, 0.5);
}

TEST(Numbers, SeedsUseAll64Bits) {
  EXPECT_EQ(load_minimal({"run.seed=18446744073709551615"}).config.run.seed, ~std::uint64_t{0});
  EXPECT_THAT(problems_of_minimal({"run.seed=18446744073709551616"}),
              ElementsAre(HasSubstr("run.seed: expected an integer >= 0")));
}

TEST(Numbers, WhatIsNoIntegerIsRefused) {
  for (const std::string text : {"1.0", "1e-3", "1.5e0", "0x10", "1_000", "010", "1e30", "one", "",
                                 "-", "+", "'3'", "99999999999999999999", "1 2", ".inf", "nan"}) {
    EXPECT_THAT(problems_of_minimal({"train.log_every=" + text}),
                ElementsAre(HasSubstr("train.log_every: expected an integer")))
        << text;
  }
}

TEST(Numbers, WhatIsNoFiniteNumberIsRefused) {
  for (const std::string text :
       {".nan", ".inf", "-.inf", "nan", "inf", "infinity", "1e999", "0x1p3", "1,5", "1e", "--1",
        "+-1", "true", "'0.1'", "[0.1]", "1.2.3"}) {
    EXPECT_THAT(problems_of_minimal({"optim.learning_rate=" + text}),
                ElementsAre(HasSubstr("optim.learning_rate: expected a finite number")))
        << text;
  }
}

TEST(Text, OverridesAreTakenAsTheyAre) {
  const auto prompt = [](const std::string& text) {
    return load_minimal({"train.sample_prompt=" + text}).config.train.sample_prompt;
  };
  EXPECT_EQ(prompt("In the beginning: # a=b {c}"), "In the beginning: # a=b {c}");
  EXPECT_EQ(prompt("null"), "null");
  EXPECT_EQ(prompt("[x"), "[x");
  EXPECT_EQ(prompt("\"quoted\\n\""), "quoted\n");
  EXPECT_EQ(prompt("it's"), "it's");
  EXPECT_EQ(prompt(""), "");
}

TEST(Text, RequiredTextMustNotBeEmpty) {
  EXPECT_THAT(problems_of_minimal({"run.dir="}),
              ElementsAre("command line: run.dir: expected text, got ''"));
}

TEST(Text, ControlCharactersAreRefusedWhereTheyAreNoPartOfAName) {
  EXPECT_THAT(problems_of_minimal({}, "optim: {}\nschedule: {type: \"co\\u0007sine\"}\n"),
              ElementsAre(HasSubstr("schedule.type: expected plain text")));
  EXPECT_THAT(problems_of_minimal({std::string("run.dir=a\x01")}),
              ElementsAre("command line: run.dir: the value is not plain text"));
  EXPECT_THAT(problems_of_minimal({"run.dir=\"a\\0b\""}),
              ElementsAre(HasSubstr("run.dir: expected plain text")));
  EXPECT_THAT(problems_of_minimal({"data.path=", "data.blend=[{path: \"a\\0b\"}]"}),
              ElementsAre(HasSubstr("data.blend: expected plain text, got 'a\\x00b'")));
}

TEST(Optional, NoneNullAndNothingSwitchAValueOff) {
  for (const std::string none : {"none", "null", "~", ""}) {
    const auto loaded =
        load_minimal({"model.moe.router.max_experts=" + none, "model.moe.router.p_warmup=" + none});
    EXPECT_FALSE(top_p(loaded.config.model.moe.router).max_experts.has_value()) << none;
    EXPECT_FALSE(top_p(loaded.config.model.moe.router).p_warmup.has_value()) << none;
  }
}

TEST(Numbers, Beyond64BitsAreNamedAsSuch) {
  EXPECT_THAT(problems_of_minimal({"run.seed=99999999999999999999", "train.log_every=1e300",
                                   "optim.learning_rate=1e999", "optim.eps=1e-400"}),
              ElementsAre(HasSubstr("run.seed: expected an integer >= 0, got "
                                    "'99999999999999999999' (integers have 64 bits"),
                          HasSubstr("train.log_every: expected an integer, got '1e300' (integers"),
                          HasSubstr("optim.learning_rate: expected a finite number, got '1e999' "
                                    "(too large or too small for 64 bits)"),
                          HasSubstr("optim.eps: expected a finite number, got '1e-400' (too")));
}

TEST(Numbers, MinusZeroIsZero) {
  const Config config =
      load_minimal({"optim.learning_rate=-0", "optim.weight_decay=-0.0", "run.seed=-0"}).config;
  EXPECT_FALSE(std::signbit(config.optim.learning_rate));
  EXPECT_FALSE(std::signbit(config.optim.weight_decay));
  EXPECT_EQ(config.run.seed, 0U);
}

TEST(ConfigErrorText, HasOneProblemPerLineAndAHint) {
  try {
    (void)load_minimal({"a=1", "b=2"});
    FAIL() << "loaded";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "command line: a: unknown key 'a'\ncommand line: b: unknown key 'b'");
    EXPECT_EQ(error.hint(), "`switchyard config reference` lists every key");
  }
}

TEST(ValueErrors, AnEncoderHasNothingToCalibrate) {
  EXPECT_THAT(problems_of_minimal({"model.type=encoder", "train.calibrate=true"}),
              ElementsAre("command line: train.calibrate: nobody asks an encoder for its "
                          "probabilities; leave it out or set model.type: decoder"));
}

}  // namespace
}  // namespace switchyard::config
