// Text that is not the YAML we accept, with exact messages and positions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "loading.h"

namespace switchyard::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Document, DuplicateKeyNamesBothLines) {
  EXPECT_THAT(problems_of_minimal({}, "    expert_size: 64\n"),
              ElementsAre("x.yaml:15:5: duplicate key 'expert_size' (first on line 14)"));
}

TEST(Document, DuplicateGroupIsAnError) {
  EXPECT_THAT(problems_of_minimal({}, "run:\n  seed: 1\n"),
              ElementsAre("x.yaml:15:1: duplicate key 'run' (first on line 1)"));
}

// A line about something missing that is there would be a second problem of one mistake.
TEST(Document, WhatAGroupHasInItsSecondPlaceIsNotMissing) {
  EXPECT_THAT(
      problems_of(
          "data: {path: d}\nrun:\n  seed: 1\nmodel:\n  hidden_size: 8\nrun:\n"
          "  dir: a\nmodel:\n  num_layers: 1\n  num_heads: 2\n  ffn_size: 8\ntrain: {steps: 1}\n"),
      ElementsAre("x.yaml:6:1: duplicate key 'run' (first on line 2)",
                  "x.yaml:8:1: duplicate key 'model' (first on line 4)"));
  EXPECT_THAT(
      problems_of("data: {path: d}\nrun:\nmodel:\n  hidden_size: 8\n  num_layers: 1\n"
                  "  moe: {num_experts: 2}\nrun: {dir: a}\nmodel:\n  num_heads: 2\n  ffn_size: 8\n"
                  "  moe: {expert_size: 4}\ntrain: {steps: 1}\n"),
      ElementsAre("x.yaml:7:1: duplicate key 'run' (first on line 2)",
                  "x.yaml:8:1: duplicate key 'model' (first on line 3)"));
}

TEST(Document, SyntaxErrorHasAPositionAndHidesFollowUpErrors) {
  const auto problems = problems_of("run:\n  dir: [a, b\ntrain:\n  steps: 1\n");
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_THAT(problems[0], testing::MatchesRegex("x.yaml:[0-9]+:[0-9]+: not valid YAML: .*"));
}

TEST(Document, TabInTheIndentationIsAnError) {
  EXPECT_THAT(problems_of("run:\n  dir: a\n\tseed: 1\n"),
              ElementsAre("x.yaml:3:1: a tab in the indentation; use spaces"));
  EXPECT_THAT(problems_of("run:\n  \tdir: a\n"),
              ElementsAre("x.yaml:2:3: a tab in the indentation; use spaces"));
}

TEST(Document, TabsElsewhereAreFine) {
  EXPECT_EQ(load_minimal({}, "    every:\t2\t# comment\n").config.model.moe.every, 2);
}

TEST(Document, DeepNestingStopsEarly) {
  const auto deeper = testing::MatchesRegex("x.yaml:[0-9]+:[0-9]+: nested deeper than 20 levels");
  std::string lists = "run: ";
  std::string maps = "run: ";
  std::string block;
  for (std::size_t i = 0; i < 1000; ++i) lists += "[";
  for (std::size_t i = 0; i < 1000; ++i) maps += "{a: ";
  for (std::size_t i = 0; i < 300; ++i) block += std::string(i, ' ') + "a:\n";
  EXPECT_THAT(problems_of(lists), ElementsAre(deeper));
  EXPECT_THAT(problems_of(maps), ElementsAre(deeper));
  EXPECT_THAT(problems_of(block), ElementsAre("x.yaml:21:21: nested deeper than 20 levels"));
}

TEST(Document, AnchorsAndAliasesAreRefused) {
  const std::string message = "anchors and aliases (&, *) are not supported; write the value out";
  EXPECT_THAT(problems_of("a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n"),
              ElementsAre("x.yaml:1:4: " + message));
  EXPECT_THAT(problems_of("run: &r {dir: x}\n"), ElementsAre("x.yaml:1:6: " + message));
}

TEST(Document, TagsAreRefused) {
  EXPECT_THAT(problems_of("run:\n  seed: !!int 3\n"),
              ElementsAre("x.yaml:2:9: YAML tags ('tag:yaml.org,2002:int') are not supported"));
}

TEST(Document, KeysMustBePlainText) {
  EXPECT_THAT(problems_of("? [a]\n: 1\n"), Contains("x.yaml:1:3: a key must be plain text"));
  EXPECT_THAT(problems_of("run: {? {a: 1} : 2}\n"),
              Contains("x.yaml:1:9: a key must be plain text"));
  EXPECT_THAT(problems_of("run:\n  : 1\n"), Contains("x.yaml:2:3: a key is missing before ':'"));
}

TEST(Document, OneDocumentOnly) {
  EXPECT_THAT(problems_of_minimal({}, "---\nrun: {}\n"),
              ElementsAre("x.yaml: more than one YAML document"));
  // A second one that would be refused itself.
  for (const char* second : {"---\nrun: &a {}\n", "---\n!!map x\n"}) {
    EXPECT_THAT(problems_of_minimal({}, second),
                ElementsAre("x.yaml: more than one YAML document"));
  }
}

TEST(Document, BytesThatAreNoTextAreRefused) {
  EXPECT_THAT(problems_of(std::string("run:\n  dir: a\0b\n", 15)),
              ElementsAre("x.yaml:2:9: a control character: not a text file"));
  EXPECT_THAT(problems_of("run:\n  dir: caf\xe9\n"), ElementsAre("x.yaml:2:11: not valid UTF-8"));
  EXPECT_THAT(problems_of(std::string((1 << 18) + 1, '#')),
              ElementsAre("x.yaml:1:1: larger than 256 KiB: not a configuration file"));
}

TEST(Document, InvalidUtf8IsFoundWhateverItsForm) {
  for (const std::string bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xe2\x28\xa1", "\xff"}) {
    EXPECT_THAT(problems_of("a: " + bad), ElementsAre("x.yaml:1:4: not valid UTF-8"));
  }
}

TEST(Document, TextInOtherScriptsIsKept) {
  const auto loaded = load_minimal({"train.sample_prompt=Ünïcode 文字 🙂"});
  EXPECT_EQ(loaded.config.train.sample_prompt, "Ünïcode 文字 🙂");
}

TEST(Document, WindowsLineEndsAndAByteOrderMarkAreFine) {
  std::string text = "\xef\xbb\xbf";
  for (const char c : kMinimal) text += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_EQ(load_text(text, "x.yaml", {}).config.run.dir, "runs/x");
}

TEST(Document, EmptyFileMissesEveryRequiredKey) {
  for (const std::string empty : {"", "\n\n", "# only a comment\n", "---\n", "{}\n"}) {
    EXPECT_THAT(problems_of(empty), Contains(HasSubstr("x.yaml: run.dir: required, but not set")))
        << empty;
  }
}

TEST(Document, RootMustBeAMap) {
  EXPECT_THAT(
      problems_of("- a\n- b\n"),
      Contains("x.yaml:1:1: expected a map with keys such as run, data, model, got a list"));
  EXPECT_THAT(problems_of("just words\n"), Contains(HasSubstr("got 'just words'")));
}

TEST(Document, HostileTextIsAnsweredQuickly) {
  std::string keys;
  for (int i = 0; keys.size() < 250'000; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  std::string flow = "run: {";
  for (int i = 0; flow.size() < 250'000; ++i) flow += "k" + std::to_string(i) + ": [1, {a: b}], ";
  flow += "}";
  std::string layers = "model: {moe: {router: {per_layer: {";
  for (int i = 0; layers.size() < 250'000; ++i) layers += std::to_string(i % 10000) + ": {p: 1}, ";
  layers += "}}}}";
  const std::string text = "run: {dir: \"" + std::string(250'000, 'x') + "\"}";
  for (const std::string& hostile : {keys, flow, layers, text}) {
    const auto start = std::chrono::steady_clock::now();
    const auto problems = problems_of(hostile);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_FALSE(problems.empty());
    EXPECT_LE(problems.size(), 51U);
    RecordProperty("seconds_" + hostile.substr(0, 3), std::to_string(elapsed.count()));
  }
}

TEST(Document, ProblemsBeyondTheFirstFiftyAreCounted) {
  std::string many(kMinimal);
  for (int i = 0; i < 70; ++i) many += "    unknown" + std::to_string(i) + ": 1\n";
  const auto problems = problems_of(many);
  ASSERT_EQ(problems.size(), 51U);
  EXPECT_EQ(problems.back(), "... and 20 more problems");
}

}  // namespace
}  // namespace switchyard::config
