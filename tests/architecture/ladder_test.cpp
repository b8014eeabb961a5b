// The tree follows the ladder, and the check would notice if it did not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "architecture/ladder_check.h"

namespace switchyard::architecture {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kRoot = SWITCHYARD_SOURCE_DIR;

Ladder ladder() {
  return read_ladder(kRoot / "tests/architecture/ladder.txt");
}

TEST(Ladder, EveryFileIncludesOnlyWhatItsRowAllows) {
  const auto violations = check_tree(kRoot, ladder());
  EXPECT_TRUE(violations.empty()) << to_string(violations);
  EXPECT_GT(count_sources(kRoot), 10) << "the check looked at hardly any file";
}

TEST(Ladder, EveryLayerFolderHasARow) {
  const auto table = ladder();
  for (const std::string folder : {"include/switchyard", "src"}) {
    for (const auto& entry : fs::directory_iterator(kRoot / folder)) {
      if (!entry.is_directory()) continue;
      EXPECT_TRUE(table.layers.contains(entry.path().filename().string()))
          << entry.path() << " is no layer of tests/architecture/ladder.txt";
    }
  }
}

// A small tree with planted mistakes.
class PlantedTree : public ::testing::Test {
 protected:
  PlantedTree() : root_(fs::temp_directory_path() / ("ladder_test." + std::to_string(getpid()))) {
    fs::remove_all(root_);
  }
  ~PlantedTree() override {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  std::string violations() const { return to_string(check_tree(root_, ladder())); }

  fs::path root_;
};

TEST_F(PlantedTree, ACleanTreePasses) {
  write("include/switchyard/core/a.h", "#pragma once\n#include <vector>\n");
  write("src/routing/a.cpp",
        "#include \"switchyard/ops/routing.h\"\n#include <ATen/core/Tensor.h>\n");
  write("tests/routing/a_test.cpp", "#include <gtest/gtest.h>\n#include \"support/x.h\"\n");
  EXPECT_THAT(violations(), IsEmpty());
}

TEST_F(PlantedTree, AnUpwardIncludeIsNamedWithFileLineAndRule) {
  write("src/routing/a.cpp", "// why\n#include \"switchyard/model/decoder.h\"\n");
  EXPECT_THAT(violations(),
              HasSubstr("src/routing/a.cpp:2: layer 'routing' may not include layer "
                        "'model' (model/decoder.h); it may include: ops config core"));
}

TEST_F(PlantedTree, SiblingsMayNotIncludeEachOther) {
  write("src/data/a.cpp", "#include \"switchyard/optim/adamw.h\"\n");
  EXPECT_THAT(violations(), HasSubstr("layer 'data' may not include layer 'optim'"));
}

TEST_F(PlantedTree, APrivateHeaderOfAnotherLayerCounts) {
  write("src/train/detail.h", "#pragma once\n");
  write("src/ops/a.cpp", "#include \"train/detail.h\"\n");
  EXPECT_THAT(violations(),
              HasSubstr("src/ops/a.cpp:1: layer 'ops' may not include layer 'train'"));
}

TEST_F(PlantedTree, ATestMayUseItsOwnHelpersButNotThoseOfAnUpperLayer) {
  write("tests/routing/cases.h", "#pragma once\n");
  write("tests/routing/a_test.cpp", "#include \"routing/cases.h\"\n");
  EXPECT_THAT(violations(), IsEmpty());
  write("tests/ops/a_test.cpp", "#include \"routing/cases.h\"\n");
  EXPECT_THAT(violations(), HasSubstr("ops/a_test.cpp:1: layer 'ops' may not include layer 'rout"));
}

TEST_F(PlantedTree, TheFrontMayNotIncludeTheEngineNorTorch) {
  write("src/cli/engine/a.h", "#pragma once\n");
  write("src/cli/front/main.cpp",
        "#include \"cli/engine/a.h\"\n#include <ATen/core/Tensor.h>\n"
        "#include \"switchyard/train/build.h\"\n");
  EXPECT_THAT(violations(), HasSubstr("main.cpp:1: layer 'cli/front' may not include layer 'cli'"));
  EXPECT_THAT(violations(), HasSubstr("main.cpp:2: layer 'cli/front' may not include torch"));
  EXPECT_THAT(violations(),
              HasSubstr("main.cpp:3: layer 'cli/front' may not include layer 'train'"));
}

TEST_F(PlantedTree, AKernelMayNotIncludeTorch) {
  write("kernels/cpu/a.cpp", "#include <c10/util/Half.h>\n");
  write("include/switchyard/kernels/a.h", "#include <ATen/core/Tensor.h>\n");
  EXPECT_THAT(violations(),
              HasSubstr("kernels/cpu/a.cpp:1: layer 'kernels' may not include torch"));
  EXPECT_THAT(violations(), HasSubstr("kernels/a.h:1: layer 'kernels' may not include torch"));
}

TEST_F(PlantedTree, TorchTorchHIsForbiddenEverywhere) {
  write("src/train/a.cpp", "#include <torch/torch.h>\n");
  write("tests/support/a.h", "#  include \"torch/torch.h\"\n");
  EXPECT_THAT(violations(), HasSubstr("src/train/a.cpp:1: never include torch/torch.h"));
  EXPECT_THAT(violations(), HasSubstr("tests/support/a.h:1: never include torch/torch.h"));
}

TEST_F(PlantedTree, ABareKernelLaunchIsFoundButNotInTheHelperOrAComment) {
  write("kernels/cuda/a.cu",
        "// k<<<1, 1>>>()\n/* k<<<1,\n1>>>() */ void f() { k<<<1, 1>>>(); }\n");
  write("kernels/cuda/launch.cuh", "void f() { cudaLaunchKernelEx(&c, k); }\n");
  const auto found = check_tree(root_, ladder());
  ASSERT_EQ(found.size(), 1U) << to_string(found);
  EXPECT_EQ(found[0].file, "kernels/cuda/a.cu");
  EXPECT_EQ(found[0].line, 3);
  EXPECT_THAT(found[0].rule, HasSubstr("bare kernel launch"));
}

TEST_F(PlantedTree, AKernelLaunchIsFoundInAnyFileAndSpelling) {
  write("src/ops/a.cpp", "void f() { cudaLaunchKernel(k, 1, 1, args); }\n");
  write("kernels/cuda/a.cuh", "void f() { k<<<1, 1>>>(); }\n");
  write("tests/kernels/a.cu", "void f() { k<<<1, 1>>>(); }\n");
  for (const std::string file : {"src/ops/a.cpp", "kernels/cuda/a.cuh", "tests/kernels/a.cu"}) {
    EXPECT_THAT(violations(), HasSubstr(file + ":1: bare kernel launch"));
  }
}

TEST_F(PlantedTree, AnAddressOfATensorIsTakenOnlyWhereItsDeviceIsChecked) {
  write("src/ops/a.cpp", "int* f(const at::Tensor& t) { return t.mutable_data_ptr<int>(); }\n");
  write("src/ops/a_benchmark.cpp", "const void* p = t.const_data_ptr();\n");
  write("src/ops/kernel_device.h", "return tensor.const_data_ptr<T>();\n");
  write("tests/ops/a_test.cpp", "const void* p = t.const_data_ptr();\n");
  const auto found = check_tree(root_, ladder());
  ASSERT_EQ(found.size(), 1U) << to_string(found);
  EXPECT_EQ(found[0].file, "src/ops/a.cpp");
  EXPECT_THAT(found[0].rule, HasSubstr("use src/ops/kernel_device.h"));
}

TEST_F(PlantedTree, ABuildFlagInAPublicHeaderIsFound) {
  write("include/switchyard/ops/a.h",
        "#ifdef SWITCHYARD_WITH_CUDA\n#endif\n#if defined(SWITCHYARD_X)\n#endif\n");
  EXPECT_THAT(violations(),
              HasSubstr("ops/a.h:1: a public header must not depend on a build flag"));
  EXPECT_THAT(violations(),
              HasSubstr("ops/a.h:3: a public header must not depend on a build flag"));
}

TEST_F(PlantedTree, AnUnknownLibraryOrFolderIsFound) {
  write("src/core/a.cpp", "#include <boost/any.hpp>\n");
  write("src/utils/a.cpp", "int x;\n");
  EXPECT_THAT(violations(),
              HasSubstr("src/core/a.cpp:1: includes boost/any.hpp of a library that"));
  EXPECT_THAT(violations(), HasSubstr("src/utils/a.cpp:1: is in no layer"));
}

TEST_F(PlantedTree, ProductionCodeMayNotIncludeGoogleTest) {
  write("src/core/a.cpp", "#include <gtest/gtest.h>\n");
  EXPECT_THAT(violations(), HasSubstr("layer 'core' may not include testing"));
}

TEST_F(PlantedTree, ATableThatPointsUpwardIsRefused) {
  write("ladder.txt", "layer core: config |\nlayer config: |\n");
  EXPECT_THAT(
      [&] { read_ladder(root_ / "ladder.txt"); },
      ::testing::ThrowsMessage<std::runtime_error>(HasSubstr(":1: layer 'config' is not above")));
}

}  // namespace
}  // namespace switchyard::architecture
