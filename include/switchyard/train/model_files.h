// Between the objects of a run and the named tensors of files: which part of which parameter goes
// by which name.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "switchyard/checkpoint/tensor_files.h"
#include "switchyard/checkpoint/write_plan.h"
#include "switchyard/model/model.h"
#include "switchyard/optim/adamw.h"

namespace switchyard::train {

// Which parameters are meant; none given: all.
using ParameterFilter = std::function<bool(const ops::Parameter& parameter)>;

// The parts of parameters, as views of the masters.
[[nodiscard]] std::vector<checkpoint::NamedTensor> named_weights(
    model::Model& model, const ParameterFilter& is_meant = {});
[[nodiscard]] bool has_finite_weights(model::Model& model);
// model.layers.3.moe.router.STATE
[[nodiscard]] std::vector<checkpoint::NamedTensor> named_router_state(model::Model& model);
// Adam's moments as NAME.exp_avg and NAME.exp_avg_sq of every part, or of the piece of it that is
// updated here; views.
[[nodiscard]] std::vector<checkpoint::NamedTensor> named_moments(
    const optim::AdamW& optimizer, const ParameterFilter& is_meant = {});

// The opposites, in place and for exactly these tensors, beside which the files may hold experts
// that other ranks have; load_weights publishes every parameter.
// Throw DataError naming the files' source and the tensors that are missing, unknown or of another
// shape; then no weight and no moment has changed.
void load_weights(model::Model& model, const checkpoint::TensorFiles& files);
// The same for the names that model and files share, such as a trunk under another head: returns
// those that only one side has. Parameters that are not meant are left alone, and missing. Throws
// DataError for another shape.
[[nodiscard]] checkpoint::UnmatchedNames load_known_weights(model::Model& model,
                                                            const checkpoint::TensorFiles& files,
                                                            const ParameterFilter& is_meant = {});
void load_router_state(model::Model& model, const checkpoint::TensorFiles& files);
// The same after a change of routers, before the step that follows `step`: a router of whose layer
// `keeps` says so takes the state of its layer where the names are the same, all others start
// afresh at that step. Returns the number of routers that took it.
std::int64_t take_over_router_state(model::Model& model, const checkpoint::TensorFiles& files,
                                    const std::function<bool(std::int64_t layer)>& keeps,
                                    std::int64_t step);
void load_moments(const optim::AdamW& optimizer, model::Model& model,
                  const checkpoint::TensorFiles& files);

}  // namespace switchyard::train
