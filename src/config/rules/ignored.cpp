#include "switchyard/config/ignored.h"

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "config/merge.h"
#include "config/yaml/value.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

class Ignored {
 public:
  explicit Ignored(const Config& config) : config_(config) {}

  void add(const std::string& key, const std::string& reason) {
    add(key, reason, value_text(field_of(key), Config{}));
  }
  // `default_value`: where it depends on other fields.
  void add(const std::string& key, const std::string& reason, const std::string& default_value) {
    const std::string value = value_text(field_of(key), config_);
    if (value == default_value) return;
    lines_.push_back(fmt::format("{}={} does nothing: {}", key, value, reason));
  }

  void add_options(const RouterConfig& router, std::optional<std::int64_t> layer) {
    const auto ignored = descriptor_of(router).ignored;
    if (ignored == nullptr) return;
    for (const IgnoredOption& found : ignored(router)) {
      lines_.push_back(
          fmt::format("{} does nothing: {}", router_key(found.option, layer), found.reason));
    }
  }

  [[nodiscard]] std::vector<std::string> take() { return std::move(lines_); }

 private:
  static const Field& field_of(const std::string& key) {
    const Field* const field = find_field(key);
    SWITCHYARD_CHECK(field != nullptr, "{} is no key", key);
    return *field;
  }

  const Config& config_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> ignored_settings(const Config& config) {
  Ignored ignored(config);
  const MoeConfig& moe = config.model.moe;
  if (!moe.layers.empty()) {
    ignored.add_options(moe.router, std::nullopt);
    for (const auto& [layer, router] : moe.router_of_layer) {
      if (router != moe.router) ignored.add_options(router, layer);
    }
    if (moe.loss.load_balance == 0.0) {
      const char* const reason = "model.moe.loss.load_balance is 0";
      ignored.add("model.moe.loss.normalize", reason, descriptor_of(moe.router).losses.normalize);
      ignored.add("model.moe.loss.scope", reason);
    }
  }
  if (config.schedule.type == "constant") {
    ignored.add("schedule.final_ratio", "schedule.type is constant");
  }
  if (!config.model.is_causal()) {
    ignored.add("train.sample_every", "an encoder writes no text");
    ignored.add("train.sample_tokens", "an encoder writes no text");
  }
  if (config.parallel.expert == 1) {
    ignored.add("parallel.exchange_chunks", "rows travel only where parallel.expert is above 1");
  }
  return ignored.take();
}

}  // namespace switchyard::config
