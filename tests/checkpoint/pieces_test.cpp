// Tensors that several ranks hold parts of: written as pieces, read as wholes or as any other
// parts.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/piece_name.h"
#include "support/temporary_folder.h"
#include "switchyard/checkpoint/tensor_files.h"
#include "switchyard/checkpoint/write_plan.h"
#include "switchyard/core/error.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(PieceName, IsReadAsItIsWritten) {
  const std::string text = to_string(
      {.name = "model.w[0].exp_avg", .range = {.begin = 128, .numel = 64}, .total = 4096});
  EXPECT_EQ(text, "model.w[0].exp_avg[128:192/4096]");
  const auto piece = parse_piece_name(text);
  ASSERT_TRUE(piece.has_value());
  EXPECT_EQ(piece->name, "model.w[0].exp_avg");
  EXPECT_EQ(piece->range.begin, 128);
  EXPECT_EQ(piece->range.numel, 64);
  EXPECT_EQ(piece->total, 4096);
}

TEST(PieceName, AnythingElseIsTheNameOfAWholeTensor) {
  for (const char* text :
       {"", "a", "a[", "a[]", "a[0:1]", "[0:1/2]", "a[0:1/2", "a[0:1/2]b", "a[1:1/2]", "a[2:1/2]",
        "a[0:3/2]", "a[-1:1/2]", "a[ 0:1/2]", "a[0:1/99999999999999999999]", "a[0x0:1/2]"}) {
    EXPECT_FALSE(parse_piece_name(text).has_value()) << text;
  }
}

class Pieces : public ::testing::Test {
 protected:
  // Elements begin .. end of 0, 1, 2, ... 9 as a file of its own.
  fs::path write(const std::string& file, std::int64_t begin, std::int64_t end,
                 std::int64_t total = 10, at::ScalarType type = at::kFloat) const {
    (void)write_files_of(0,
                         {{.name = file,
                           .parts = {{.name = "a",
                                      .tensor = at::arange(begin, end, type),
                                      .piece = {{.begin = begin, .total = total}}}}}},
                         folder_.path());
    return folder_ / file;
  }
  [[nodiscard]] static at::Tensor numbers(std::int64_t begin, std::int64_t end) {
    return at::arange(begin, end, at::kFloat);
  }

  testing::TemporaryFolder folder_;
};

TEST_F(Pieces, MakeAWholeInAnyOrderAndAnyPartIsRead) {
  const TensorFiles files("set", {write("c", 7, 10), write("a", 0, 3), write("b", 3, 7)});
  ASSERT_EQ(files.tensors().size(), 1U);
  at::Tensor whole = at::full({2, 5}, -1.0);
  files.read_exactly({{.name = "a", .shape = {2, 5}, .destination = whole}});
  EXPECT_TRUE(at::equal(whole.view({-1}), numbers(0, 10)));
  for (std::int64_t begin = 0; begin < 10; ++begin) {
    for (std::int64_t end = begin + 1; end <= 10; ++end) {
      at::Tensor part = at::full({end - begin}, -1.0, at::kDouble);
      files.read_exactly({{.name = "a",
                           .shape = {2, 5},
                           .destination = part,
                           .range = {{.begin = begin, .numel = end - begin}}}});
      EXPECT_TRUE(at::equal(part, numbers(begin, end).to(at::kDouble))) << begin << " " << end;
    }
  }
  EXPECT_TRUE(at::equal(files.copies().at("a"), numbers(0, 10)));
}

TEST_F(Pieces, OfAnotherNumberOfElementsAreOfAnotherShape) {
  const TensorFiles files("set", {write("a", 0, 10)});
  const at::Tensor wrong = at::empty({11});
  EXPECT_THAT([&] { files.read_exactly({{.name = "a", .shape = {11}, .destination = wrong}}); },
              ThrowsMessage<DataError>(HasSubstr("'a' has the shape [10], expected [11]")));
}

TEST_F(Pieces, ThatMakeNoWholeAreRefused) {
  const auto read = [](const std::vector<fs::path>& files) { TensorFiles("set", files); };
  const fs::path first = write("first", 0, 3);
  EXPECT_THAT([&] { read({first}); },
              ThrowsMessage<DataError>(HasSubstr("of 'a' there are 3 elements of 10")));
  EXPECT_THAT(
      [&] {
        read({first, write("late", 4, 10)});
      },
      ThrowsMessage<DataError>(HasSubstr("the pieces of 'a' do not fit at element 3")));
  EXPECT_THAT(
      [&] {
        read({first, write("early", 2, 10)});
      },
      ThrowsMessage<DataError>(HasSubstr("do not fit at element 3")));
  EXPECT_THAT(
      [&] {
        read({first, write("other_type", 3, 10, 10, at::kDouble)});
      },
      ThrowsMessage<DataError>(HasSubstr("do not fit at element 3")));
  EXPECT_THAT(
      [&] {
        read({first, write("other_total", 3, 11, 11)});
      },
      ThrowsMessage<DataError>(HasSubstr("is in")));
  (void)write_files_of(0, {{.name = "whole", .parts = {{"a", numbers(0, 10)}}}}, folder_.path());
  EXPECT_THAT(
      [&] {
        read({write("all", 0, 10), folder_ / "whole"});
      },
      ThrowsMessage<DataError>(HasSubstr("is in")));
}

// A foreign file may call a tensor so.
TEST_F(Pieces, WithOtherElementsThanTheirNameSaysAreRefused) {
  (void)write_files_of(0, {{.name = "odd", .parts = {{"a[0:3/3]", numbers(0, 2)}}}},
                       folder_.path());
  EXPECT_THAT([&] { TensorFiles("set", {folder_ / "odd"}); },
              ThrowsMessage<DataError>(HasSubstr("'a[0:3/3]' has 2 elements")));
}

}  // namespace
}  // namespace switchyard::checkpoint
