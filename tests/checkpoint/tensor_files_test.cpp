#include "switchyard/checkpoint/tensor_files.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "support/counting_allocator.h"
#include "support/damage.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::CountingAllocator;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
// More than one piece in every type, and no multiple of one.
constexpr std::int64_t kLargeNumel = 3 * kMiB + 5;

format::ScalarType type_in_file(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kHalf:
      return format::ScalarType::kF16;
    case at::kBFloat16:
      return format::ScalarType::kBF16;
    case at::kDouble:
      return format::ScalarType::kF64;
    case at::kLong:
      return format::ScalarType::kI64;
    default:
      return format::ScalarType::kF32;
  }
}

// Element i is a pure function of i that bf16 and fp16 cannot hold.
at::Tensor counting(std::vector<std::int64_t> shape, at::ScalarType type = at::kFloat) {
  std::int64_t numel = 1;
  for (const std::int64_t size : shape) numel *= size;
  return (at::arange(numel, at::kDouble).remainder(1009.0) / 7.0 + 0.001).to(type).view(shape);
}

std::int64_t resident_file_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kilobytes = 0;
    if (word == "RssFile:" && status >> kilobytes) return kilobytes * 1024;
  }
  ADD_FAILURE() << "no RssFile in /proc/self/status";
  return 0;
}

class TensorFilesTest : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, const Tensors& tensors) const {
    std::vector<format::TensorInfo> infos;
    for (const auto& [key, tensor] : tensors) {
      infos.push_back({.name = key, .type = type_in_file(tensor), .shape = tensor.sizes().vec()});
    }
    format::SafetensorsWriter writer(folder_ / name, std::move(infos));
    for (const auto& [key, tensor] : tensors) {
      const at::Tensor whole = tensor.contiguous();
      writer.append(key, {static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes()});
    }
    (void)writer.commit();
    return folder_ / name;
  }
  [[nodiscard]] TensorFiles open(const Tensors& tensors) const {
    return {"some/checkpoint", {write("model.safetensors", tensors)}};
  }
  static TensorTarget target(const std::string& name, std::vector<std::int64_t> shape,
                             at::ScalarType type = at::kFloat) {
    const at::Tensor destination = at::full(shape, -1.0, at::TensorOptions().dtype(type));
    return {.name = name, .shape = std::move(shape), .destination = destination};
  }
  static std::string message_of(const TensorFiles& files,
                                const std::vector<TensorTarget>& targets) {
    try {
      files.read_exactly(targets);
    } catch (const DataError& error) {
      EXPECT_THAT(error.hint(), HasSubstr("a model of another shape"));
      return error.what();
    }
    return "no error";
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TensorFilesTest, EveryTypeOfAFileGoesIntoEveryTypeOfADestination) {
  for (const at::ScalarType stored : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const at::Tensor large = counting({kLargeNumel}, stored);
    const at::Tensor small = counting({3, 5}, stored);
    const TensorFiles files = open({{"large", large}, {"small", small}});
    for (const at::ScalarType wanted : {at::kFloat, at::kDouble, at::kBFloat16}) {
      SCOPED_TRACE(std::string(at::toString(stored)) + " to " + at::toString(wanted));
      const std::vector<TensorTarget> targets = {target("small", {3, 5}, wanted),
                                                 target("large", {kLargeNumel}, wanted)};
      files.read_exactly(targets);
      EXPECT_TRUE(at::equal(targets[0].destination, small.to(wanted)));
      EXPECT_TRUE(at::equal(targets[1].destination, large.to(wanted)));
    }
  }
}

TEST_F(TensorFilesTest, TensorsThatAForeignWriterDidNotAlignAreRead) {
  // One byte before them: no float lies at a multiple of its size.
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},)"
                             R"("pad":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  const float values[] = {0.5F, -3.0F};
  bytes += header + '\0' + std::string(reinterpret_cast<const char*>(values), sizeof(values));
  write_file_atomically(folder_ / "foreign", bytes);
  const TensorFiles files("foreign", {folder_ / "foreign"});
  for (const at::ScalarType wanted : {at::kFloat, at::kBFloat16}) {
    const TensorTarget a = target("a", {2}, wanted);
    EXPECT_THAT(files.read_subset({a}).unknown, ElementsAre("pad"));
    EXPECT_EQ(a.destination[0].item<float>(), 0.5F);
    EXPECT_EQ(a.destination[1].item<float>(), -3.0F);
  }
}

TEST_F(TensorFilesTest, EmptyTensorsAndScalarsAreTensorsLikeOthers) {
  const TensorFiles files = open({{"empty", at::empty({0, 5})}, {"scalar", counting({})}});
  const TensorTarget scalar = target("scalar", {});
  files.read_exactly({target("empty", {0, 5}), scalar});
  EXPECT_TRUE(at::equal(scalar.destination, counting({})));
  EXPECT_THAT(message_of(files, {target("empty", {5, 0}), scalar}),
              HasSubstr("'empty' has the shape [0, 5], expected [5, 0]"));
}

TEST_F(TensorFilesTest, AMemberOfAStackIsReadInPlaceAndItsNeighboursStay) {
  const TensorFiles files = open({{"expert", counting({2, 3})}});
  const at::Tensor stack = at::zeros({4, 2, 3});
  files.read_exactly({{.name = "expert", .shape = {2, 3}, .destination = stack[2]}});
  EXPECT_TRUE(at::equal(stack[2], counting({2, 3})));
  EXPECT_EQ(stack[1].abs().sum().item<float>() + stack[3].abs().sum().item<float>(), 0.0F);
}

TEST_F(TensorFilesTest, SlicesOfARowMajorTensorGiveTogetherTheWhole) {
  const at::Tensor whole = counting({3, kMiB});
  const TensorFiles files = open({{"w", whole}});
  for (const at::ScalarType wanted : {at::kFloat, at::kBFloat16}) {
    const at::Tensor joined = at::zeros({3 * kMiB}, at::TensorOptions().dtype(wanted));
    const std::vector<std::int64_t> cuts = {0, 0, 1, kMiB - 1, 3 * kMiB - 7, 3 * kMiB};
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      const std::int64_t numel = cuts[i + 1] - cuts[i];
      files.read_exactly({{.name = "w",
                           .shape = {3, kMiB},
                           .destination = joined.narrow(0, cuts[i], numel),
                           .range = ElementRange{.begin = cuts[i], .numel = numel}}});
    }
    EXPECT_TRUE(at::equal(joined, whole.view({-1}).to(wanted)));
  }
}

TEST_F(TensorFilesTest, ASliceLeavesTheRestOfItsDestinationAlone) {
  const TensorFiles files = open({{"w", counting({10})}});
  const at::Tensor all = at::full({5}, -1.0);
  files.read_exactly({{.name = "w",
                       .shape = {10},
                       .destination = all.narrow(0, 1, 3),
                       .range = ElementRange{.begin = 4, .numel = 3}}});
  EXPECT_TRUE(at::equal(all.narrow(0, 1, 3), counting({10}).narrow(0, 4, 3)));
  EXPECT_EQ(all[0].item<float>(), -1.0F);
  EXPECT_EQ(all[4].item<float>(), -1.0F);
}

TEST_F(TensorFilesTest, TargetsThatCannotBeRightAreABug) {
  const TensorFiles files = open({{"w", counting({4, 2})}});
  const auto expect_bug = [&](const TensorTarget& wrong) {
    EXPECT_THROW(files.read_exactly({wrong}), InternalError);
  };
  expect_bug({.name = "w", .shape = {4, 2}, .destination = at::zeros({7})});
  expect_bug({.name = "w", .shape = {4, 2}, .destination = at::zeros({2, 4}).t()});
  expect_bug({.name = "w",
              .shape = {4, 2},
              .destination = at::zeros({4, 2}, at::TensorOptions().dtype(at::kLong))});
  for (const ElementRange range : {ElementRange{7, 2}, ElementRange{-1, 2}, ElementRange{9, 0}}) {
    expect_bug(
        {.name = "w", .shape = {4, 2}, .destination = at::zeros({range.numel}), .range = range});
  }
}

TEST_F(TensorFilesTest, ShardsAreOneSetInAnyOrder) {
  const fs::path first = write("1", {{"z", counting({3})}, {"b", counting({4})}});
  const fs::path second = write("2", {{"a", counting({5}, at::kBFloat16)}});
  for (const std::vector<fs::path>& paths :
       {std::vector{first, second}, std::vector{second, first}}) {
    const TensorFiles files("shards", paths);
    std::vector<std::string> names;
    for (const format::TensorInfo& info : files.tensors()) names.push_back(info.name);
    EXPECT_THAT(names, ElementsAre("a", "b", "z"));
    const std::vector<TensorTarget> targets = {target("b", {4}), target("a", {5}),
                                               target("z", {3})};
    files.read_exactly(targets);
    EXPECT_TRUE(at::equal(targets[0].destination, counting({4})));
    EXPECT_TRUE(at::equal(targets[1].destination, counting({5}, at::kBFloat16).to(at::kFloat)));
    EXPECT_TRUE(at::equal(targets[2].destination, counting({3})));
  }
}

TEST_F(TensorFilesTest, TheSameNameInTwoFilesIsRefusedWithBothFiles) {
  const fs::path first = write("first", {{"a", counting({3})}, {"same", counting({1})}});
  const fs::path second = write("second", {{"same", counting({1})}});
  EXPECT_THAT(
      [&] {
        (void)TensorFiles("shards", {first, second});
      },
      ThrowsMessage<DataError>(
          AllOf(HasSubstr("/second: the tensor 'same' is in "), HasSubstr("/first"))));
}

TEST_F(TensorFilesTest, NoFilesAreTheEmptySet) {
  const TensorFiles files("nothing", {});
  EXPECT_THAT(files.tensors(), IsEmpty());
  EXPECT_NO_THROW(files.read_exactly({}));
  EXPECT_EQ(message_of(files, {target("a", {1})}), "nothing: the tensor 'a' is missing");
}

TEST_F(TensorFilesTest, OneTensorThatDoesNotFitIsNamed) {
  const TensorFiles files = open({{"a", counting({2})}, {"b", counting({3})}});
  EXPECT_EQ(message_of(files, {target("a", {2}), target("b", {3}), target("c", {1})}),
            "some/checkpoint: the tensor 'c' is missing");
  EXPECT_EQ(message_of(files, {target("a", {2})}), "some/checkpoint: the model has no tensor 'b'");
  EXPECT_EQ(message_of(files, {target("a", {2}), target("b", {3, 1})}),
            "some/checkpoint: 'b' has the shape [3], expected [3, 1]");
}

TEST_F(TensorFilesTest, AllDifferencesAreToldAtOnceWithTheFirstNamesAndTheirNumber) {
  Tensors stored;
  std::vector<TensorTarget> targets;
  for (int i = 0; i < 8; ++i) {
    const std::string number = std::to_string(i);
    stored.emplace_back("unknown" + number, counting({1}));
    stored.emplace_back("shape" + number, counting({1}));
    targets.push_back(target("missing" + number, {1}));
    targets.push_back(target("shape" + number, {2}));
  }
  const std::string message = message_of(open(stored), targets);
  EXPECT_THAT(message, HasSubstr("8 tensors are missing: 'missing0', 'missing1'"));
  EXPECT_THAT(message, HasSubstr("'missing4' and 3 more; "));
  EXPECT_THAT(message, HasSubstr("none of 8 tensors: 'unknown0'"));
  EXPECT_THAT(message, HasSubstr("8 shapes differ: 'shape0' has the shape [1], expected [2], "));
  EXPECT_THAT(message, Not(HasSubstr("missing5")));
  EXPECT_THAT(message, Not(HasSubstr("shape5")));
}

TEST_F(TensorFilesTest, NothingIsWrittenWhenATensorIsMissingUnknownOrOfAnotherShapeOrType) {
  const TensorFiles files =
      open({{"a", counting({2})}, {"b", counting({3})}, {"i", at::arange(4, at::kLong)}});
  const TensorTarget a = target("a", {2});
  for (const std::vector<TensorTarget>& targets :
       {std::vector{a}, std::vector{a, target("b", {3}), target("c", {1}), target("i", {4})},
        std::vector{a, target("b", {4}), target("i", {4})},
        std::vector{a, target("b", {3}), target("i", {4})}}) {
    EXPECT_THROW(files.read_exactly(targets), DataError);
  }
  EXPECT_TRUE(at::equal(a.destination, at::full({2}, -1.0)));
}

TEST_F(TensorFilesTest, ASubsetReadsWhatBothSidesKnowAndReturnsTheRest) {
  const TensorFiles files =
      open({{"trunk", counting({2, 2})}, {"old_head", at::arange(4, at::kLong)}});
  const std::vector<TensorTarget> targets = {target("new_head", {3}), target("trunk", {2, 2})};
  const UnmatchedNames names = files.read_subset(targets);
  EXPECT_THAT(names.missing, ElementsAre("new_head"));
  EXPECT_THAT(names.unknown, ElementsAre("old_head"));
  EXPECT_TRUE(at::equal(targets[0].destination, at::full({3}, -1.0)));
  EXPECT_TRUE(at::equal(targets[1].destination, counting({2, 2})));
}

TEST_F(TensorFilesTest, ASubsetStillRefusesAnotherShapeAndDoesNotComplainOfNames) {
  const TensorFiles files = open({{"trunk", counting({2, 2})}, {"old_head", counting({3})}});
  EXPECT_THAT(
      [&] {
        (void)files.read_subset({target("new_head", {3}), target("trunk", {4})});
      },
      ThrowsMessage<DataError>(
          AllOf(HasSubstr("'trunk' has the shape [2, 2], expected [4]"), Not(HasSubstr("head")))));
}

TEST_F(TensorFilesTest, TypesThatAreNoFloatAreNamedWithTheFileOnlyWhenTheyAreWanted) {
  const TensorFiles files = open({{"w", counting({2})}, {"ids", at::arange(4, at::kLong)}});
  EXPECT_THAT(
      [&] {
        files.read_exactly({target("w", {2}), target("ids", {4})});
      },
      ThrowsMessage<DataError>(AllOf(HasSubstr("model.safetensors: tensor 'ids' is I64"),
                                     HasSubstr("expected F32, F64, BF16 or F16"))));
  EXPECT_THAT(files.read_subset({target("w", {2})}).unknown, ElementsAre("ids"));
}

TEST_F(TensorFilesTest, CopiesHaveTheirOwnTypesButFp16WhichBecomesFp32) {
  const std::map<std::string, at::Tensor> copies = open({{"d", counting({2}, at::kDouble)},
                                                         {"b", counting({2}, at::kBFloat16)},
                                                         {"h", counting({2}, at::kHalf)}})
                                                       .copies();
  EXPECT_TRUE(at::equal(copies.at("d"), counting({2}, at::kDouble)));
  EXPECT_TRUE(at::equal(copies.at("b"), counting({2}, at::kBFloat16)));
  EXPECT_TRUE(at::equal(copies.at("h"), counting({2}, at::kHalf).to(at::kFloat)));
}

TEST_F(TensorFilesTest, ReadingHoldsNoMoreThanTheStagingBufferBesideTheDestinations) {
  constexpr std::int64_t kNumel = 4 * kMiB;
  for (const at::ScalarType stored : {at::kFloat, at::kDouble}) {
    const TensorFiles files = open({{"a", counting({kNumel}, stored)}, {"b", counting({kNumel})}});
    for (const at::ScalarType wanted : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(std::string(at::toString(stored)) + " to " + at::toString(wanted));
      const std::vector<TensorTarget> targets = {target("a", {kNumel}, wanted),
                                                 target("b", {kNumel}, wanted)};
      const CountingAllocator counter;
      const std::int64_t before = CountingAllocator::live_bytes;
      CountingAllocator::peak_bytes = before;
      files.read_exactly(targets);
      const std::int64_t extra = CountingAllocator::peak_bytes - before;
      EXPECT_LE(extra, static_cast<std::int64_t>(kStagingBytes) + 4096);
      EXPECT_GT(extra, stored == wanted ? -1 : 0) << "the counter does not count";
    }
  }
}

TEST_F(TensorFilesTest, PagesOfAFileThatWereReadAreGivenBack) {
  constexpr std::int64_t kNumel = 16 * kMiB;  // 64 MiB
  const TensorFiles files = open({{"a", counting({kNumel})}});
  for (const at::ScalarType wanted : {at::kFloat, at::kBFloat16}) {
    const TensorTarget a = target("a", {kNumel}, wanted);
    const std::int64_t before = resident_file_bytes();
    files.read_exactly({a});
    EXPECT_LT(resident_file_bytes() - before, 16 * kMiB);
  }
}

TEST_F(TensorFilesTest, DamagedFilesAreRefusedOrReadButNeverCrash) {
  const std::string good =
      read_file(write("good", {{"a", counting({2, 3})}, {"b", counting({2}, at::kHalf)}}));
  const testing::Reader read = [this](std::span<const std::byte> bytes) {
    std::ofstream(folder_ / "damaged", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    const TensorFiles files("damaged", {folder_ / "damaged"});
    (void)files.read_subset({target("a", {2, 3}), target("b", {2}, at::kBFloat16)});
    (void)files.copies();
  };
  const auto cut = testing::read_every_truncation(good, read);
  EXPECT_EQ(cut.refused, cut.tried);
  EXPECT_GT(testing::read_byte_flips(good, read).refused, 100U);
}

}  // namespace
}  // namespace switchyard::checkpoint
