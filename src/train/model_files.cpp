#include "switchyard/train/model_files.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "switchyard/core/error.h"

namespace switchyard::train {
namespace {

constexpr const char* kFirstMoment = ".exp_avg";
constexpr const char* kSecondMoment = ".exp_avg_sq";

// Of a tensor that is laid out as the parameter: its master or a moment.
at::Tensor part_of(const at::Tensor& whole, const ops::LogicalTensor& part) {
  SWITCHYARD_CHECK(!part.slice.has_value(), "only a slice of {} is held here", part.name);
  const std::int64_t numel = part.held().count;
  return whole.detach().view({-1}).narrow(0, part.offset, numel).view(part.shape);
}

std::string router_prefix(std::int64_t layer) {
  return fmt::format("model.layers.{}.moe.router.", layer);
}

// Named views are where a file's tensors go, too.
std::vector<checkpoint::TensorTarget> whole_targets(
    const std::vector<checkpoint::NamedTensor>& views) {
  std::vector<checkpoint::TensorTarget> targets;
  targets.reserve(views.size());
  for (const checkpoint::NamedTensor& view : views) {
    targets.push_back(
        {.name = view.name, .shape = view.tensor.sizes().vec(), .destination = view.tensor});
  }
  return targets;
}

// Are these names of experts that another rank holds? Experts of a layer are named alike but for
// their number.
std::function<bool(const std::string&)> held_elsewhere(
    const std::vector<checkpoint::TensorTarget>& targets, std::int64_t num_experts) {
  constexpr std::string_view kExperts = ".experts.";
  struct Numbered {
    std::string before;  // the number
    std::int64_t number = 0;
    std::string after = {};
  };
  const auto parse = [kExperts](const std::string& name) -> std::optional<Numbered> {
    const std::size_t at = name.find(kExperts);
    if (at == std::string::npos) return std::nullopt;
    const std::size_t begin = at + kExperts.size();
    Numbered expert{.before = name.substr(0, begin)};
    const auto [end, error] =
        std::from_chars(name.data() + begin, name.data() + name.size(), expert.number);
    if (error != std::errc()) return std::nullopt;
    expert.after = name.substr(static_cast<std::size_t>(end - name.data()));
    return expert;
  };
  std::set<std::int64_t> held;
  std::set<std::string> kinds;
  for (const checkpoint::TensorTarget& target : targets) {
    if (const auto expert = parse(target.name)) {
      held.insert(expert->number);
      kinds.insert(expert->before + expert->after);
    }
  }
  return [=](const std::string& name) {
    const auto expert = parse(name);
    return expert && expert->number >= 0 && expert->number < num_experts &&
           !held.contains(expert->number) && kinds.contains(expert->before + expert->after);
  };
}

void read(const std::vector<checkpoint::TensorTarget>& targets, const model::Model& model,
          const checkpoint::TensorFiles& files) {
  files.read_exactly(targets, held_elsewhere(targets, model.config().moe.num_experts));
}

// Without the prefix.
std::map<std::string, at::Tensor> state_of_layer(const std::map<std::string, at::Tensor>& state,
                                                 std::int64_t layer) {
  const std::string prefix = router_prefix(layer);
  std::map<std::string, at::Tensor> own;
  for (const auto& [name, tensor] : state) {
    if (name.starts_with(prefix)) own.emplace(name.substr(prefix.size()), tensor);
  }
  return own;
}

}  // namespace

std::vector<checkpoint::NamedTensor> named_weights(model::Model& model,
                                                   const ParameterFilter& is_meant) {
  std::vector<checkpoint::NamedTensor> weights;
  for (const ops::Parameter* parameter : model.parameters()) {
    if (is_meant && !is_meant(*parameter)) continue;
    for (const ops::LogicalTensor& part : parameter->parts) {
      weights.push_back({.name = part.name, .tensor = part_of(parameter->master, part)});
    }
  }
  return weights;
}

// One wait for the device. No finite numbers are lost to a sum that overflows: a minimum and a
// maximum are of the tensor.
bool has_finite_weights(model::Model& model) {
  std::vector<at::Tensor> extremes;
  for (const ops::Parameter* parameter : model.parameters()) {
    const auto [least, most] = at::aminmax(parameter->master.detach());
    extremes.push_back(least);
    extremes.push_back(most);
  }
  return at::isfinite(at::stack(extremes)).all().item<bool>();
}

std::vector<checkpoint::NamedTensor> named_router_state(model::Model& model) {
  std::vector<checkpoint::NamedTensor> state;
  for (const auto& [layer, router] : model.routers()) {
    for (const auto& [name, tensor] : router->state()) {
      state.push_back({.name = router_prefix(layer) + name, .tensor = tensor});
    }
  }
  return state;
}

std::vector<checkpoint::NamedTensor> named_moments(const optim::AdamW& optimizer,
                                                   const ParameterFilter& is_meant) {
  std::vector<checkpoint::NamedTensor> named;
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    if (is_meant && !is_meant(*optimizer.parameters()[i])) continue;
    const optim::AdamW::Moments& moments = optimizer.moments()[i];
    for (const ops::LogicalTensor& part : optimizer.parameters()[i]->parts) {
      named.push_back({.name = part.name + kFirstMoment, .tensor = part_of(moments.first, part)});
      named.push_back({.name = part.name + kSecondMoment, .tensor = part_of(moments.second, part)});
    }
  }
  return named;
}

void load_weights(model::Model& model, const checkpoint::TensorFiles& files) {
  read(whole_targets(named_weights(model)), model, files);
  for (ops::Parameter* parameter : model.parameters()) ops::publish(*parameter);
}

checkpoint::UnmatchedNames load_known_weights(model::Model& model,
                                              const checkpoint::TensorFiles& files,
                                              const ParameterFilter& is_meant) {
  checkpoint::UnmatchedNames unmatched =
      files.read_subset(whole_targets(named_weights(model, is_meant)));
  for (ops::Parameter* parameter : model.parameters()) ops::publish(*parameter);
  return unmatched;
}

std::int64_t take_over_router_state(model::Model& model, const checkpoint::TensorFiles& files,
                                    const std::function<bool(std::int64_t layer)>& keeps,
                                    std::int64_t step) {
  const std::map<std::string, at::Tensor> state = files.copies();
  std::int64_t num_kept = 0;
  for (const auto& [layer, router] : model.routers()) {
    std::map<std::string, at::Tensor> own = state_of_layer(state, layer);
    const std::map<std::string, at::Tensor> names = router->state();
    const bool has_same_names =
        !own.empty() && own.size() == names.size() &&
        std::equal(own.begin(), own.end(), names.begin(),
                   [](const auto& a, const auto& b) { return a.first == b.first; });
    if (has_same_names && keeps(layer)) {
      router->load_state(own);
      ++num_kept;
    }
    // A step without tokens: what follows the number of the step follows it, nothing is averaged.
    router->after_step({.step = step - 1});
  }
  return num_kept;
}

void load_router_state(model::Model& model, const checkpoint::TensorFiles& files) {
  const std::map<std::string, at::Tensor> state = files.copies();
  std::size_t num_used = 0;
  for (const auto& [layer, router] : model.routers()) {
    const std::map<std::string, at::Tensor> own = state_of_layer(state, layer);
    num_used += own.size();
    try {
      router->load_state(own);
    } catch (const DataError& error) {
      throw DataError(
          fmt::format("{}: router of layer {}: {}", files.source(), layer, error.what()),
          error.hint());
    }
  }
  if (num_used != state.size()) {
    throw DataError(fmt::format("{}: {} of {} router tensors belong to no router of the model",
                                files.source(), state.size() - num_used, state.size()));
  }
}

void load_moments(const optim::AdamW& optimizer, const model::Model& model,
                  const checkpoint::TensorFiles& files) {
  read(whole_targets(named_moments(optimizer)), model, files);
}

}  // namespace switchyard::train
