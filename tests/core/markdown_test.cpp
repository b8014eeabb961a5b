#include "switchyard/core/markdown.h"

#include <gtest/gtest.h>

#include <string>

namespace switchyard {
namespace {

TEST(MarkdownCell, NothingInItEndsTheCellOrIsCode) {
  EXPECT_EQ(markdown_cell("a|b `c` <d> \\"), "a\\|b \\`c\\` \\<d> \\\\");
  EXPECT_EQ(markdown_cell("a\nb"), "a\\\\x0ab");
  EXPECT_EQ(markdown_cell(std::string(200, 'x'), std::string::npos).size(), 200U);
  EXPECT_LT(markdown_cell(std::string(200, 'x')).size(), 130U);
}

}  // namespace
}  // namespace switchyard
