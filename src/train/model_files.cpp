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

// What an optimizer's slice has of a part of its parameter.
struct PartOfSlice {
  const ops::Parameter* parameter = nullptr;
  const ops::LogicalTensor* part = nullptr;
  checkpoint::ElementRange range = {};  // of the part
  std::int64_t in_slice = 0;            // where that begins in the slice
  const optim::AdamW::Moments* moments = nullptr;
};

std::vector<PartOfSlice> parts_of_slices(const optim::AdamW& optimizer) {
  std::vector<PartOfSlice> found;
  for (std::size_t i = 0; i < optimizer.slices().size(); ++i) {
    const optim::Slice& slice = optimizer.slices()[i];
    for (const ops::LogicalTensor& part : slice.parameter->parts) {
      SWITCHYARD_CHECK(!part.slice.has_value(), "only a slice of {} is held here", part.name);
      const std::int64_t begin = std::max(slice.begin, part.offset);
      const std::int64_t end = std::min(slice.begin + slice.count, part.offset + part.held().count);
      if (begin >= end) continue;
      found.push_back({.parameter = slice.parameter,
                       .part = &part,
                       .range = {.begin = begin - part.offset, .numel = end - begin},
                       .in_slice = begin - slice.begin,
                       .moments = &optimizer.moments()[i]});
    }
  }
  return found;
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
std::function<bool(const std::string&)> held_elsewhere(const std::set<std::string>& names,
                                                       std::int64_t num_experts) {
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
  for (const std::string& name : names) {
    if (const auto expert = parse(name)) {
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
  for (const PartOfSlice& part : parts_of_slices(optimizer)) {
    if (is_meant && !is_meant(*part.parameter)) continue;
    const std::int64_t total = part.part->held().count;
    const auto add = [&](const char* suffix, const at::Tensor& of_slice) {
      const at::Tensor moment = of_slice.narrow(0, part.in_slice, part.range.numel);
      if (part.range.numel == total) {
        named.push_back(
            {.name = part.part->name + suffix, .tensor = moment.view(part.part->shape)});
      } else {
        named.push_back({.name = part.part->name + suffix,
                         .tensor = moment,
                         .piece = {{.begin = part.range.begin, .total = total}}});
      }
    };
    add(kFirstMoment, part.moments->first);
    add(kSecondMoment, part.moments->second);
  }
  return named;
}

void load_weights(model::Model& model, const checkpoint::TensorFiles& files) {
  const std::vector<checkpoint::TensorTarget> targets = whole_targets(named_weights(model));
  std::set<std::string> here;
  for (const checkpoint::TensorTarget& target : targets) here.insert(target.name);
  files.read_exactly(targets, held_elsewhere(here, model.config().moe.num_experts));
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

void load_moments(const optim::AdamW& optimizer, model::Model& model,
                  const checkpoint::TensorFiles& files) {
  std::vector<checkpoint::TensorTarget> targets;
  for (const PartOfSlice& part : parts_of_slices(optimizer)) {
    const auto add = [&](const char* suffix, const at::Tensor& of_slice) {
      targets.push_back({.name = part.part->name + suffix,
                         .shape = part.part->shape,
                         .destination = of_slice.narrow(0, part.in_slice, part.range.numel),
                         .range = part.range});
    };
    add(kFirstMoment, part.moments->first);
    add(kSecondMoment, part.moments->second);
  }
  // Beside them the files have what other ranks update of the parameters that are here, and other
  // experts.
  std::set<std::string> here;
  for (const ops::Parameter* parameter : model.parameters()) {
    for (const ops::LogicalTensor& part : parameter->parts) {
      here.insert(part.name + kFirstMoment);
      here.insert(part.name + kSecondMoment);
    }
  }
  const auto others = held_elsewhere(here, model.config().moe.num_experts);
  files.read_exactly(targets,
                     [&](const std::string& name) { return here.contains(name) || others(name); });
}

}  // namespace switchyard::train
