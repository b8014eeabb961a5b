// Between a decoder and the named tensors of files.
#include <ATen/core/grad_mode.h>

#include <set>

#include "switchyard/core/error.h"
#include "switchyard/train/build.h"

namespace switchyard::train {
namespace {

at::Tensor part_of(const ops::Parameter& parameter, const ops::LogicalTensor& part) {
  std::int64_t numel = 1;
  for (const std::int64_t size : part.shape) numel *= size;
  return parameter.master.detach().view({-1}).narrow(0, part.offset, numel).view(part.shape);
}

std::string router_prefix(std::int64_t layer) {
  return fmt::format("model.layers.{}.moe.router.", layer);
}

void load_part(const ops::Parameter& parameter, const ops::LogicalTensor& part,
               const std::map<std::string, at::Tensor>& weights, const std::string& source) {
  const auto found = weights.find(part.name);
  if (found == weights.end()) {
    throw DataError(fmt::format("{}: the tensor '{}' is missing", source, part.name),
                    "the weights belong to a model of another shape");
  }
  const at::Tensor& tensor = found->second;
  if (tensor.sizes() != at::IntArrayRef(part.shape)) {
    throw DataError(fmt::format("{}: '{}' has the shape [{}], expected [{}]", source, part.name,
                                fmt::join(tensor.sizes(), ", "), fmt::join(part.shape, ", ")),
                    "the weights belong to a model of another shape");
  }
  part_of(parameter, part).copy_(tensor);
}

void load_router_state(model::Decoder& decoder, const std::map<std::string, at::Tensor>& state,
                       const std::string& source) {
  std::size_t num_used = 0;
  for (const auto& [layer, router] : decoder.routers()) {
    const std::string prefix = router_prefix(layer);
    std::map<std::string, at::Tensor> own;
    for (const auto& [name, tensor] : state) {
      if (name.starts_with(prefix)) own.emplace(name.substr(prefix.size()), tensor);
    }
    num_used += own.size();
    try {
      router->load_state(own);
    } catch (const DataError& error) {
      throw DataError(fmt::format("{}: router of layer {}: {}", source, layer, error.what()),
                      error.hint());
    }
  }
  if (num_used != state.size()) {
    throw DataError(fmt::format("{}: {} of {} router tensors belong to no router of the model",
                                source, state.size() - num_used, state.size()));
  }
}

}  // namespace

checkpoint::SaveRequest save_request(model::Decoder& decoder) {
  checkpoint::SaveRequest request;
  for (const ops::Parameter* parameter : decoder.parameters()) {
    for (const ops::LogicalTensor& part : parameter->parts) {
      request.weights.push_back({.name = part.name, .tensor = part_of(*parameter, part)});
    }
  }
  for (const auto& [layer, router] : decoder.routers()) {
    for (const auto& [name, tensor] : router->state()) {
      request.router_state.push_back({.name = router_prefix(layer) + name, .tensor = tensor});
    }
  }
  return request;
}

void load_weights(model::Decoder& decoder, const std::map<std::string, at::Tensor>& weights,
                  const std::map<std::string, at::Tensor>& router_state,
                  const std::string& source) {
  const at::NoGradGuard no_grad;
  std::set<std::string> known;
  for (ops::Parameter* parameter : decoder.parameters()) {
    for (const ops::LogicalTensor& part : parameter->parts) {
      load_part(*parameter, part, weights, source);
      known.insert(part.name);
    }
    ops::publish(*parameter);
  }
  for (const auto& [name, tensor] : weights) {
    if (!known.contains(name)) {
      throw DataError(fmt::format("{}: the model has no tensor '{}'", source, name),
                      "the weights belong to a model of another shape");
    }
  }
  load_router_state(decoder, router_state, source);
}

}  // namespace switchyard::train
