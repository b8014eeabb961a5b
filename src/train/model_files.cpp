// Between a decoder and the named tensors of files.
#include <ATen/core/grad_mode.h>

#include <set>

#include "switchyard/core/error.h"
#include "switchyard/train/build.h"

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

// Into a tensor that is laid out as the parameter; the file's name of the part ends in `suffix`.
void load_part(const at::Tensor& whole, const ops::LogicalTensor& part, const char* suffix,
               const std::map<std::string, at::Tensor>& tensors, const std::string& source) {
  const std::string name = part.name + suffix;
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw DataError(fmt::format("{}: the tensor '{}' is missing", source, name),
                    "the weights belong to a model of another shape");
  }
  const at::Tensor& tensor = found->second;
  if (tensor.sizes() != at::IntArrayRef(part.shape)) {
    throw DataError(fmt::format("{}: '{}' has the shape [{}], expected [{}]", source, name,
                                fmt::join(tensor.sizes(), ", "), fmt::join(part.shape, ", ")),
                    "the weights belong to a model of another shape");
  }
  part_of(whole, part).copy_(tensor);
}

}  // namespace

checkpoint::SaveRequest save_request(model::Decoder& decoder) {
  checkpoint::SaveRequest request;
  for (const ops::Parameter* parameter : decoder.parameters()) {
    for (const ops::LogicalTensor& part : parameter->parts) {
      request.weights.push_back({.name = part.name, .tensor = part_of(parameter->master, part)});
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
                  const std::string& source) {
  const at::NoGradGuard no_grad;
  std::set<std::string> known;
  for (ops::Parameter* parameter : decoder.parameters()) {
    for (const ops::LogicalTensor& part : parameter->parts) {
      load_part(parameter->master, part, "", weights, source);
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

void add_moments(checkpoint::SaveRequest& request, const optim::AdamW& optimizer) {
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const optim::AdamW::Moments& moments = optimizer.moments()[i];
    for (const ops::LogicalTensor& part : optimizer.parameters()[i]->parts) {
      request.optimizer.push_back(
          {.name = part.name + kFirstMoment, .tensor = part_of(moments.first, part)});
      request.optimizer.push_back(
          {.name = part.name + kSecondMoment, .tensor = part_of(moments.second, part)});
    }
  }
}

void load_moments(const optim::AdamW& optimizer, const std::map<std::string, at::Tensor>& moments,
                  const std::string& source) {
  const at::NoGradGuard no_grad;
  std::size_t num_used = 0;
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const optim::AdamW::Moments& own = optimizer.moments()[i];
    for (const ops::LogicalTensor& part : optimizer.parameters()[i]->parts) {
      load_part(own.first, part, kFirstMoment, moments, source);
      load_part(own.second, part, kSecondMoment, moments, source);
      num_used += 2;
    }
  }
  if (num_used != moments.size()) {
    throw DataError(fmt::format("{}: {} of {} moments belong to no parameter of the model", source,
                                moments.size() - num_used, moments.size()),
                    "the weights belong to a model of another shape");
  }
}

}  // namespace switchyard::train
