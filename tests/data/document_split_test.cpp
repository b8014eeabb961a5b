#include "data/document_split.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::data {
namespace {

std::vector<float> equal(std::size_t num_documents) {
  return std::vector<float>(num_documents, 4.0F);
}

// How much of the text of these documents is held back.
double share_held_back(const DocumentSplit& split, const std::vector<std::string>& documents) {
  double held_back = 0.0;
  double total = 0.0;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto parts = split.split(static_cast<std::int64_t>(i), documents[i]);
    EXPECT_EQ(std::string(parts.train) + std::string(parts.validation), documents[i]);
    held_back += static_cast<double>(parts.validation.size());
    total += static_cast<double>(documents[i].size());
  }
  return held_back / total;
}

TEST(DocumentSplit, TheShareIsOfTheBytesHoweverUnequalTheDocumentsAre) {
  std::vector<std::string> documents;
  std::vector<float> bytes;
  for (std::size_t i = 0; i < 400; ++i) {
    documents.emplace_back(10 + i * i % 977 * (i % 50 == 0 ? 40 : 1), 'x');
    bytes.push_back(static_cast<float>(documents.back().size()));
  }
  for (const double share : {0.01, 0.05, 0.3, 0.9}) {
    for (const std::uint64_t seed : {0U, 1U, 2U}) {
      const DocumentSplit split("document", share, seed, bytes);
      EXPECT_NEAR(share_held_back(split, documents), share, 0.05 * share) << seed;
    }
  }
}

TEST(DocumentSplit, AShortLastLineOrALongOneDoesNotMoveTheTail) {
  const std::string words = "one two three four five six seven eight nine ten";
  std::string lines;
  while (lines.size() < 20000) lines += words + "\n";
  const std::string one_line(55000, 'x');
  for (const double share : {0.05, 0.2, 0.5}) {
    for (const std::string& text :
         {lines + "end\n", one_line + "\nshort\n", "short\n" + one_line, words + words + words}) {
      const DocumentSplit split("tail", share, 0, equal(1));
      EXPECT_NEAR(share_held_back(split, {text}), share, 0.11 * share) << text.size();
    }
  }
  const std::string tail(DocumentSplit("tail", 0.05, 0, equal(1)).split(0, lines).validation);
  EXPECT_TRUE(tail.starts_with("one two")) << "a line that is near enough is where it begins";
}

TEST(DocumentSplit, DocumentsAreHeldBackInAboutTheAskedShareAndAlwaysTheSame) {
  const DocumentSplit split("document", 0.1, 5, equal(2000));
  const DocumentSplit again("document", 0.1, 5, equal(2000));
  int held_back = 0;
  for (int document = 0; document < 2000; ++document) {
    const auto parts = split.split(document, "text");
    EXPECT_NE(parts.train.empty(), parts.validation.empty());
    EXPECT_EQ(parts.train, again.split(document, "text").train);
    held_back += parts.train.empty() ? 1 : 0;
  }
  EXPECT_NEAR(held_back, 200, 3);
}

TEST(DocumentSplit, ADocumentThatWasNotDrawnIsAMistakeOfTheCaller) {
  const DocumentSplit split("document", 0.5, 0, equal(3));
  EXPECT_THROW((void)split.split(3, "text"), InternalError);
}

TEST(DocumentSplit, AnotherSeedHoldsBackOtherDocuments) {
  const DocumentSplit a("document", 0.5, 1, equal(100));
  const DocumentSplit b("document", 0.5, 2, equal(100));
  int different = 0;
  for (int document = 0; document < 100; ++document) {
    different += a.split(document, "x").train != b.split(document, "x").train ? 1 : 0;
  }
  EXPECT_GT(different, 20);
}

TEST(DocumentSplit, EachSideGetsADocumentHoweverTheDrawFalls) {
  for (const double share : {1e-9, 0.5, 1.0 - 1e-9}) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const DocumentSplit split("document", share, seed, equal(2));
      const int held_back = static_cast<int>(split.split(0, "x").train.empty()) +
                            static_cast<int>(split.split(1, "x").train.empty());
      EXPECT_EQ(held_back, 1) << share << " " << seed;
    }
    EXPECT_EQ(DocumentSplit("document", share, 0, equal(1)).split(0, "x").train, "x");
  }
}

TEST(DocumentSplit, TheTailBeginsAfterALineNearTheShare) {
  const DocumentSplit split("tail", 0.5, 0, equal(1));
  const auto parts = split.split(0, "first line\nsecond one\nthird line\nlast\n");
  EXPECT_EQ(parts.train, "first line\nsecond one\n");
  EXPECT_EQ(parts.validation, "third line\nlast\n");
}

TEST(DocumentSplit, WithoutLinesTheTailBeginsBetweenCharacters) {
  const DocumentSplit split("tail", 0.5, 0, equal(1));
  const auto parts = split.split(0, "\xC3\xA9\xC3\xA9\xC3\xA9\n");  // the middle is inside one
  EXPECT_EQ(parts.train, "\xC3\xA9");
  EXPECT_EQ(parts.validation, "\xC3\xA9\xC3\xA9\n");
  const std::string one_line(1000, 'x');
  EXPECT_EQ(DocumentSplit("tail", 0.25, 0, equal(1)).split(0, one_line).train.size(), 750U);
}

TEST(DocumentSplit, AShareOfZeroHoldsNothingBack) {
  for (const char* kind : {"auto", "document", "tail"}) {
    EXPECT_TRUE(DocumentSplit(kind, 0.0, 0, equal(500)).split(3, "a\nb\n").validation.empty());
  }
}

TEST(DocumentSplit, ManyDocumentsAreSplitByDocumentUnlessSaidOtherwise) {
  EXPECT_STREQ(DocumentSplit("auto", 0.1, 0, equal(99)).kind(), "tail");
  EXPECT_STREQ(DocumentSplit("auto", 0.1, 0, equal(100)).kind(), "document");
  EXPECT_STREQ(DocumentSplit("tail", 0.1, 0, equal(100)).kind(), "tail");
}

}  // namespace
}  // namespace switchyard::data
