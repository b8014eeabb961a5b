#include "data/document_split.h"

#include <gtest/gtest.h>

#include <string>

namespace switchyard::data {
namespace {

TEST(DocumentSplit, DocumentsAreHeldBackInAboutTheAskedShareAndAlwaysTheSame) {
  const DocumentSplit split("document", 0.1, 5, 2000);
  const DocumentSplit again("document", 0.1, 5, 2000);
  int held_back = 0;
  for (int document = 0; document < 2000; ++document) {
    const auto parts = split.split(document, "text");
    EXPECT_NE(parts.train.empty(), parts.validation.empty());
    EXPECT_EQ(parts.train, again.split(document, "text").train);
    held_back += parts.train.empty() ? 1 : 0;
  }
  EXPECT_NEAR(held_back, 200, 60);
}

TEST(DocumentSplit, AnotherSeedHoldsBackOtherDocuments) {
  const DocumentSplit a("document", 0.5, 1, 100);
  const DocumentSplit b("document", 0.5, 2, 100);
  int different = 0;
  for (int document = 0; document < 100; ++document) {
    different += a.split(document, "x").train != b.split(document, "x").train ? 1 : 0;
  }
  EXPECT_GT(different, 20);
}

TEST(DocumentSplit, EachSideGetsADocumentHoweverTheDrawFalls) {
  for (const double share : {1e-9, 0.5, 1.0 - 1e-9}) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const DocumentSplit split("document", share, seed, 2);
      const int held_back = static_cast<int>(split.split(0, "x").train.empty()) +
                            static_cast<int>(split.split(1, "x").train.empty());
      EXPECT_EQ(held_back, 1) << share << " " << seed;
    }
    EXPECT_EQ(DocumentSplit("document", share, 0, 1).split(0, "x").train, "x");
  }
}

TEST(DocumentSplit, TheTailBeginsAfterALineNearTheShare) {
  const DocumentSplit split("tail", 0.5, 0, 1);
  const auto parts = split.split(0, "first line\nsecond one\nthird line\nlast\n");
  EXPECT_EQ(parts.train, "first line\nsecond one\n");
  EXPECT_EQ(parts.validation, "third line\nlast\n");
}

TEST(DocumentSplit, WithoutLinesTheTailBeginsBetweenCharacters) {
  const DocumentSplit split("tail", 0.5, 0, 1);
  const auto parts = split.split(0, "\xC3\xA9\xC3\xA9\xC3\xA9\n");  // the middle is inside one
  EXPECT_EQ(parts.train, "\xC3\xA9");
  EXPECT_EQ(parts.validation, "\xC3\xA9\xC3\xA9\n");
  const std::string one_line(1000, 'x');
  EXPECT_EQ(DocumentSplit("tail", 0.25, 0, 1).split(0, one_line).train.size(), 750U);
}

TEST(DocumentSplit, AShareOfZeroHoldsNothingBack) {
  for (const char* kind : {"auto", "document", "tail"}) {
    EXPECT_TRUE(DocumentSplit(kind, 0.0, 0, 500).split(3, "a\nb\n").validation.empty());
  }
}

TEST(DocumentSplit, ManyDocumentsAreSplitByDocumentUnlessSaidOtherwise) {
  EXPECT_STREQ(DocumentSplit("auto", 0.1, 0, 99).kind(), "tail");
  EXPECT_STREQ(DocumentSplit("auto", 0.1, 0, 100).kind(), "document");
  EXPECT_STREQ(DocumentSplit("tail", 0.1, 0, 100).kind(), "tail");
}

}  // namespace
}  // namespace switchyard::data
