// One router as a config has it: which type, and the options of that type. What a type is and knows
// says its descriptor (config/router.h); its options' struct is in config/routers/<type>.h.
#pragma once

#include <any>
#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::config {

// A struct of options: names its router as `kType`, has defaults and compares.
template <typename Options>
concept RouterOptionsStruct = std::equality_comparable<Options> && requires {
  { Options::kType } -> std::convertible_to<std::string_view>;
};

// The options of one router, whichever it is: a value of that router's own struct.
class RouterOptions {
 public:
  RouterOptions() = default;  // of no router
  template <RouterOptionsStruct Options>
  explicit RouterOptions(Options options)
      : held_(std::move(options)), equal_(&both_hold_the_same<Options>) {}

  // InternalError when they are another router's.
  template <RouterOptionsStruct Options>
  [[nodiscard]] const Options& as() const {
    const auto* options = std::any_cast<Options>(&held_);
    SWITCHYARD_CHECK(options != nullptr, "these are not the options of router {}", Options::kType);
    return *options;
  }
  template <RouterOptionsStruct Options>
  [[nodiscard]] Options& as() {
    return const_cast<Options&>(std::as_const(*this).as<Options>());
  }

  friend bool operator==(const RouterOptions& a, const RouterOptions& b) {
    return a.equal_ == b.equal_ && (a.equal_ == nullptr || a.equal_(a.held_, b.held_));
  }

 private:
  template <typename Options>
  static bool both_hold_the_same(const std::any& a, const std::any& b) {
    return *std::any_cast<Options>(&a) == *std::any_cast<Options>(&b);
  }

  std::any held_;
  bool (*equal_)(const std::any&, const std::any&) = nullptr;  // tells the types apart as well
};

struct RouterConfig {
  RouterConfig();  // the default type with its default options
  // A type of router_descriptors() with its default options; InternalError for another.
  explicit RouterConfig(std::string_view type_name);
  // Defaults that depend on the type are not filled in: that is resolving's part.
  template <RouterOptionsStruct Options>
  explicit RouterConfig(Options of_type, bool renormalize_weights = false)
      : type(Options::kType), renormalize(renormalize_weights), options(std::move(of_type)) {}

  std::string type;
  bool renormalize = false;  // scale a token's weights to sum 1; false where the type lacks it
  RouterOptions options;
  bool operator==(const RouterConfig&) const = default;
};

}  // namespace switchyard::config
