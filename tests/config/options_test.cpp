// Command-line arguments against the table of verbs.
#include "switchyard/config/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "config/options_fixture.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/resume.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(Options, ValuesAreReadInBothForms) {
  const auto parsed = parse("generate", {at("run"), "--prompt", "a b", "--max-tokens=5",
                                         "--temperature", "0", "--show-experts"});
  EXPECT_EQ(parsed.text("RUN|CHECKPOINT"), at("run"));
  EXPECT_EQ(parsed.text("--prompt"), "a b");
  EXPECT_EQ(parsed.integer("--max-tokens"), 5);
  EXPECT_EQ(parsed.number("--temperature"), 0.0);
  EXPECT_TRUE(parsed.has("--show-experts"));
  EXPECT_FALSE(parsed.has("--no-cache"));
}

TEST_F(Options, MissingFlagsHaveTheirDefaults) {
  const auto parsed = parse("generate", {at("run"), "--prompt", "a"});
  EXPECT_FALSE(parsed.has("--max-tokens"));
  EXPECT_EQ(parsed.integer("--max-tokens"), 100);
  EXPECT_EQ(parsed.number("--nucleus"), 1.0);
  EXPECT_THROW((void)parse("evaluate", {at("run"), "--text", at("text.txt")}).integer("--stride"),
               InternalError);
  EXPECT_THROW((void)parsed.text("--no-such-flag"), InternalError);
}

TEST_F(Options, SeveralValuesFollowARepeatableFlag) {
  const auto parsed =
      parse("prepare", {"--input", at("text.txt"), folder_.path().string(), "-", "--output",
                        at("out"), "--tokenizer", "bytes", "--input", at("x.yaml")});
  EXPECT_THAT(parsed.texts("--input"),
              ElementsAre(at("text.txt"), folder_.path().string(), "-", at("x.yaml")));
}

TEST_F(Options, TextMayBeginWithADashUnlessItIsAFlag) {
  EXPECT_EQ(parse("generate", {at("run"), "--prompt", "- item"}).text("--prompt"), "- item");
  EXPECT_EQ(parse("generate", {at("run"), "--prompt=--seed"}).text("--prompt"), "--seed");
  EXPECT_THAT(problems_of("generate", {at("run"), "--prompt", "--seed", "3"}),
              ElementsAre("--prompt: needs a value (TEXT)"));
}

TEST_F(Options, NegativeNumbersAreValues) {
  EXPECT_THAT(problems_of("generate", {at("run"), "--prompt", "a", "--temperature", "-0.5"}),
              ElementsAre("--temperature: must be in [0, 100], got -0.5"));
}

TEST_F(Options, OverridesKeepTheirOrder) {
  EXPECT_THAT(parse("pretrain", {at("x.yaml"), "b=1", "--debug", "a=2"}).overrides(),
              ElementsAre("b=1", "a=2"));
}

TEST_F(Options, AnOverrideIsNoOptionalPositional) {
  const Arguments task{"--task", "mrpc", "--data", at("glue"), "--output", at("out")};
  const auto with = [&task](Arguments more) {
    more.insert(more.end(), task.begin(), task.end());
    return more;
  };
  const ParsedArguments parsed =
      parse("finetune", with({"finetune.epochs=2", "--from", at("run")}));
  EXPECT_THAT(parsed.overrides(), ElementsAre("finetune.epochs=2"));
  EXPECT_FALSE(parsed.has("CONFIG.yaml"));
  EXPECT_THAT(problems_of("finetune", with({"--from", "none"})),
              ElementsAre("CONFIG.yaml: required with --from none",
                          "--tokenizer: required with --from none"));
  const Arguments two{at("x.yaml"), "--from", at("run"), "--tokenizer", "bytes"};
  EXPECT_THAT(problem_of("finetune", with(two)), HasSubstr("--tokenizer: only with --from none"));
  EXPECT_THAT(problem_of("finetune", with({"--from", at("nothing")})),
              HasSubstr("--from: no such run or checkpoint"));
}

TEST_F(Options, EveryMistakeIsReportedAtOnce) {
  EXPECT_THAT(
      problems_of("prepare",
                  {"--input", at("absent"), "--tokenizer", "bpe:5", "--validation", "1.5",
                   "--split", "documents", "--smaples", "3", "--samples", "x", "stray"}),
      ElementsAre(
          "--input: no such file '" + at("absent") + "'",
          "--tokenizer: the number of pieces in 'bpe:5' must be an integer in [300, 1000000]",
          "--validation: must be in [0, 1), got 1.5 (1.5 % is 0.015)",
          "--split: must be one of auto, document, tail, got 'documents' (did you mean "
          "'document'?)",
          "unknown flag '--smaples' (did you mean '--samples'?)", "--samples: given more than once",
          "--samples: expected an integer, got 'x'", "unexpected 'stray'",
          "--output DIR: missing (folder for the token files)"));
}

TEST_F(Options, MisspelledFlagIsOneProblem) {
  EXPECT_THAT(problems_of("prepare", {"--input", at("text.txt"), "--tokenizer", "bytes", "--outptu",
                                      at("out")}),
              ElementsAre("unknown flag '--outptu' (did you mean '--output'?)"));
}

TEST_F(Options, MissingArgumentsAreNamed) {
  EXPECT_THAT(
      problems_of("evaluate", {}),
      ElementsAre(
          "RUN|CHECKPOINT: missing (folder of a run (its last checkpoint), RUN@best, RUN@STEP, or "
          "of a checkpoint)",
          "--text FILE|-: missing (text to evaluate on, also .gz or .zst; - for standard input)"));
}

TEST_F(Options, ConfigKeyAsAFlagIsExplained) {
  EXPECT_THAT(problems_of("pretrain", {at("x.yaml"), "--train.steps", "5"}),
              ElementsAre("unknown flag '--train.steps' (configuration is written "
                          "train.steps=VALUE)"));
  EXPECT_THAT(problems_of("evaluate", {at("run"), "--text", at("text.txt"), "--train.steps=5"}),
              ElementsAre("unknown flag '--train.steps' (configuration belongs to pretrain)"));
}

TEST_F(Options, OverrideNeedsAnEqualsSign) {
  EXPECT_THAT(problems_of("pretrain", {at("x.yaml"), "train.steps"}),
              ElementsAre("unexpected 'train.steps'; expected key.sub=value"));
}

TEST_F(Options, SwitchesTakeNoValue) {
  EXPECT_THAT(problems_of("config reference", {"--markdown=yes"}),
              ElementsAre("--markdown: takes no value"));
}

TEST_F(Options, RunsAndCheckpointsAreRecognised) {
  const auto problem = [this](const std::string& folder) {
    const auto problems = problems_of("evaluate", {folder, "--text", at("text.txt")});
    return problems.empty() ? std::string() : problems[0];
  };
  EXPECT_EQ(problem(at("run")), "");
  EXPECT_EQ(problem(at("run/")), "");
  EXPECT_EQ(problem(at("run/checkpoints/step-000010")), "");
  EXPECT_EQ(problem(at("rn")), "RUN|CHECKPOINT: no such run or checkpoint '" + at("rn") +
                                   "' (did you mean '" + at("run") + "'?)");
  EXPECT_EQ(problem(at("text.txt")), "RUN|CHECKPOINT: '" + at("text.txt") +
                                         "' is a file; expected the folder of a run or checkpoint");
  EXPECT_EQ(problem(folder_.path().string()),
            "RUN|CHECKPOINT: '" + folder_.path().string() +
                "' is neither a run (no config.resolved.yaml) nor a checkpoint (no manifest.json)");
  EXPECT_EQ(problem(at("run/checkpoints")),
            "RUN|CHECKPOINT: '" + at("run/checkpoints") +
                "' is inside a run; give the run's folder or a step-... folder");
  // A checkpoint that was never finished does not count.
  std::filesystem::rename(folder_ / "run/checkpoints/step-000010/manifest.json",
                          folder_ / "run/checkpoints/step-000010/manifest.json.tmp");
  EXPECT_EQ(problem(at("run")),
            "RUN|CHECKPOINT: '" + at("run") + "' is a run without a finished checkpoint");
}

TEST_F(Options, ACheckpointOfARunMayBeNamed) {
  const std::string run = at("run");
  EXPECT_THAT(problems_of("generate", {run + "@10", "--prompt", "a"}), IsEmpty());
  EXPECT_THAT(problems_of("generate", {run + "@latest", "--prompt", "a"}), IsEmpty());
  EXPECT_THAT(problems_of("generate", {run + "@best", "--prompt", "a"}),
              ElementsAre(AllOf(HasSubstr("has no best one (train.keep_best=true keeps it)"),
                                HasSubstr("there is step-000010"))));
  EXPECT_THAT(problems_of("evaluate", {run + "@11", "--text", at("text.txt")}),
              ElementsAre(HasSubstr("has none of step 11; there is step-000010")));
  EXPECT_THAT(problems_of("generate", {run + "@bets", "--prompt", "a"}),
              ElementsAre(HasSubstr("behind the @ of a run comes best, latest or a step")));
  EXPECT_THAT(problems_of("generate", {at("absent") + "@best", "--prompt", "a"}),
              ElementsAre(HasSubstr("no such run or checkpoint")));
  for (const char* verb : {"report", "resume"}) {
    EXPECT_THAT(problems_of(verb, {run + "@best"}),
                ElementsAre(HasSubstr("names a checkpoint; expected its run: " + run)));
  }
  for (const char* from : {"10", "best", "latest"}) {
    EXPECT_THAT(problems_of("resume", {run, "--from", from}), IsEmpty());
  }
  for (const char* from : {"0", "-3", "newest", "1.5", "99999999999999999999"}) {
    EXPECT_THAT(
        problems_of("resume", {run, "--from", from}),
        ElementsAre(HasSubstr("--from: expected the step of a checkpoint, best or latest")));
  }
}

TEST_F(Options, NumbersBeyond64BitsAreNamedAsSuch) {
  const auto with = [&](const std::string& flag, const std::string& value) {
    return problems_of("generate", {at("run"), "--prompt", "a", flag, value});
  };
  EXPECT_THAT(with("--seed", "99999999999999999999"),
              ElementsAre("--seed: expected an integer, got '99999999999999999999' (integers have "
                          "64 bits; those beyond 2^53 are written in digits)"));
  EXPECT_THAT(with("--temperature", "1e999"),
              ElementsAre("--temperature: expected a number, got '1e999' (too large or too small "
                          "for 64 bits)"));
  EXPECT_THAT(with("--temperature", "1e-400"), ElementsAre(HasSubstr("too small for 64 bits")));
  EXPECT_THAT(with("--temperature", "-0"), IsEmpty());
  EXPECT_THAT(with("--nucleus", "-0"), ElementsAre("--nucleus: must be in (0, 1], got -0"));
}

TEST_F(Options, APositionalMayTakeSeveralRuns) {
  std::filesystem::create_directories(folder_ / "young");
  write_file_atomically(folder_ / "young" / kResolvedConfigName, "");
  EXPECT_THAT(parse("compare", {at("run"), "--svg", "x.svg", at("young")}).texts("RUN"),
              ElementsAre(at("run"), at("young")));
  EXPECT_THAT(problems_of("compare", {at("run")}), ElementsAre("RUN: expected at least two"));
  EXPECT_THAT(
      problems_of("compare", {at("run"), at("text.txt"), folder_.path().string()}),
      ElementsAre("RUN: '" + at("text.txt") + "' is a file; expected the folder of a run",
                  "RUN: '" + folder_.path().string() + "' holds no run (no config.resolved.yaml)"));
  EXPECT_THAT(help_of(*find_verb("compare")), HasSubstr("usage: switchyard compare RUN ... ["));
}

TEST_F(Options, CompareTakesRunsOrTwoOutputsOfFinetune) {
  for (const char* name : {"one", "two", "three"}) {
    std::filesystem::create_directories(folder_ / name);
    write_file_atomically(folder_ / name / kFinetuneName, "{}");
  }
  EXPECT_THAT(problems_of("compare", {at("one"), at("two"), "--json"}), IsEmpty());
  EXPECT_THAT(problem_of("compare", {at("one"), at("run")}), HasSubstr("expected one kind"));
  EXPECT_THAT(problem_of("compare", {at("one"), at("two"), at("three")}),
              HasSubstr("expected two outputs of finetune, got 3"));
  EXPECT_THAT(problem_of("compare", {at("one"), at("two"), "--svg", at("x.svg")}),
              HasSubstr("--svg"));
  EXPECT_THAT(problem_of("compare", {at("run"), at("run"), "--json"}), HasSubstr("--json"));
}

TEST_F(Options, AMissingFolderIsGuessedWithASlashBehindItAsWell) {
  EXPECT_THAT(problem_of("compare", {at("run"), at("rum/")}),
              HasSubstr("did you mean '" + at("run") + "'"));
}

TEST_F(Options, SizesInBytesAreRead) {
  const Arguments config{at("text.txt")};
  const auto with = [&](const Arguments& more) {
    Arguments all = config;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  EXPECT_EQ(parse("plan", with({"--fits", "80GiB"})).bytes("--fits"), 80ULL << 30U);
  EXPECT_THAT(problems_of("plan", with({"--fits", "lots"})),
              ElementsAre("--fits: expected a size such as 80GiB, 500MB or a number of bytes, got "
                          "'lots'"));
  EXPECT_THAT(problems_of("plan", with({"--measure", "--tokens-per-second", "5"})),
              ElementsAre("--measure: not together with --tokens-per-second; keep one"));
  EXPECT_THAT(problems_of("plan", with({"--mfu", "0.4"})),
              ElementsAre("--mfu: a share of what --measure finds; add --measure, or --layout"));
}

TEST_F(Options, TokenizersAreRecognised) {
  const auto problem = [this](const std::string& tokenizer) {
    const auto problems = problems_of(
        "prepare", {"--input", at("text.txt"), "--output", at("out"), "--tokenizer", tokenizer});
    return problems.empty() ? std::string() : problems[0];
  };
  write_file_atomically(folder_ / "a.model", "");
  for (const std::string& good : {std::string("bytes"), std::string("bpe:4096"),
                                  std::string("unigram:300"), at("a.model"), at("text.txt")}) {
    EXPECT_EQ(problem(good), "");
  }
  EXPECT_THAT(problem(at("b.model")), HasSubstr("no such file"));
  EXPECT_EQ(problem("byte"),
            "--tokenizer: expected bytes, bpe:N, unigram:N or a FILE.model, got 'byte'");
  for (const std::string bad : {"bpe:", "bpe:x", "bpe:299", "unigram:1e9", "bpe:-5"}) {
    EXPECT_THAT(problem(bad), HasSubstr("the number of pieces in")) << bad;
  }
}

TEST_F(Options, PreparedDataIsNotOverwrittenUnasked) {
  std::filesystem::create_directories(folder_ / "data");
  write_file_atomically(folder_ / "data" / "data.json", "");
  const Arguments arguments = {"--input",  at("text.txt"), "--output",
                               at("data"), "--tokenizer",  "bytes"};
  EXPECT_THAT(problems_of("prepare", arguments),
              ElementsAre("--output: '" + at("data") +
                          "' already holds a prepared data set; --overwrite replaces it"));
  Arguments overwrite = arguments;
  overwrite.emplace_back("--overwrite");
  EXPECT_THAT(problems_of("prepare", overwrite), IsEmpty());
}

TEST_F(Options, KeysThatMayChangeComeInAnyKindOfList) {
  write_file_atomically(folder_ / "run/config.resolved.yaml", "");
  const auto parsed = parse("resume", {at("run"), "--allow-change", "optim.learning_rate,data",
                                       "--allow-change", "schedule"});
  EXPECT_THAT(allowed_changes(parsed).keys, ElementsAre("optim.learning_rate", "data", "schedule"));
  for (const char* wrong : {"optim.learning_rat,data", "data,", "data,optim.lr"}) {
    EXPECT_THAT(problem_of("resume", {at("run"), "--allow-change", wrong}),
                HasSubstr("unknown key '"))
        << wrong;
  }
}

TEST_F(Options, HelpExcusesEverythingElse) {
  EXPECT_TRUE(parse("evaluate", {"--help"}).wants_help());
  EXPECT_TRUE(parse("evaluate", {"nowhere", "-h"}).wants_help());
}

TEST(Verbs, HelpNamesEveryFlagWithItsDefault) {
  for (const VerbSpec& verb : all_verbs()) {
    const std::string help = help_of(verb);
    EXPECT_THAT(help, HasSubstr("usage: switchyard " + verb.name));
    EXPECT_THAT(help, HasSubstr("example: switchyard " + verb.name)) << verb.name;
    for (const OptionSpec& flag : verb.flags) {
      EXPECT_FALSE(flag.help.empty()) << flag.name;
      EXPECT_THAT(help, HasSubstr(flag.help)) << flag.name;
      EXPECT_EQ(flag.kind == ValueKind::kSwitch, flag.metavar.empty()) << flag.name;
      if (!flag.default_text.empty()) {
        EXPECT_THAT(help, HasSubstr("(default " + flag.default_text + ")")) << flag.name;
      }
    }
    EXPECT_THAT(help_of_all_verbs(), HasSubstr(verb.summary));
  }
  EXPECT_THAT(help_of(*find_verb("pretrain")), HasSubstr("model.moe.router.p "));
}

TEST(Verbs, CommandLineIsSplitIntoVerbAndArguments) {
  const Command show = find_command(Arguments{"config", "show", "x.yaml", "a=1"});
  EXPECT_EQ(show.verb->name, "config show");
  EXPECT_THAT(show.arguments, ElementsAre("x.yaml", "a=1"));
  const Command debug = find_command(Arguments{"--debug", "evaluate", "r"});
  EXPECT_EQ(debug.verb->name, "evaluate");
  EXPECT_THAT(debug.arguments, ElementsAre("--debug", "r"));
}

TEST(Verbs, UnknownVerbsAreExplained) {
  const auto message = [](const Arguments& command_line) -> std::string {
    try {
      (void)find_command(command_line);
    } catch (const UsageError& error) {
      return error.what();
    }
    return {};
  };
  EXPECT_EQ(message({}), "a verb is missing");
  EXPECT_EQ(message({"pretain"}), "unknown verb 'pretain' (did you mean 'pretrain'?)");
  EXPECT_EQ(message({"train"}), "unknown verb 'train' (did you mean 'pretrain'?)");
  EXPECT_EQ(message({"config", "shwo", "x"}),
            "unknown verb 'config shwo' (did you mean 'config "
            "show'?)");
  EXPECT_EQ(message({"dance"}), "unknown verb 'dance'");
}

}  // namespace
}  // namespace switchyard::config
