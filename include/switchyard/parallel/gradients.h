// Gradients across ranks, and who updates what: the gradients of many parameters are a few flat
// buffers, each added up over the ranks that hold the same parameters.
//
// With shared-out optimizer state (ZeRO stage 1: Rajbhandari et al., "ZeRO: Memory Optimizations
// Toward Training Trillion Parameter Models", SC 2020) a rank gets the sum of its own part of every
// buffer alone, updates the slices of parameters that are in it, and is given the others' masters.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "switchyard/ops/parameter.h"
#include "switchyard/optim/adamw.h"
#include "switchyard/optim/grad_norm.h"
#include "switchyard/parallel/rank_groups.h"

namespace switchyard::parallel {

class Gradients {
 public:
  // The parameters' gradient buffers are parts of these buffers from here on. All ranks give the
  // same parameters, but for the experts that each holds; they, and `groups`, must outlive this.
  Gradients(std::span<ops::Parameter* const> parameters, RankGroups& groups, bool shares_out);

  // Adds up over the replicas of each parameter. A collective of all ranks: a parameter that got no
  // gradient takes part with zeros.
  void reduce();
  // After reduce(): the Euclidean norm over the gradients of the whole model, every element once
  // whatever the layout, the same bits on all ranks, not finite when any element is not; and those
  // of the parameters as they are held here, in their order.
  [[nodiscard]] optim::GradNorms norms();
  // Scales what this rank has of the sums by clip_norm / norm when norm > clip_norm > 0.
  void clip(double norm, double clip_norm) const;

  // Has each of several ranks only its slices?
  [[nodiscard]] bool is_shared_out() const;
  // What this rank updates: all of every parameter, or, shared out, its slices of them, disjoint
  // between the ranks that hold the same. Their gradients are the sums, after reduce().
  [[nodiscard]] std::vector<optim::Slice> slices() const;
  // After an update of the slices, where they are shared out: every rank gets all masters, and the
  // parameters' gradient buffers are overwritten. A collective of all ranks.
  void gather_masters();

 private:
  struct Member {
    std::size_t idx = 0;  // in parameters_
    ops::Parameter* parameter = nullptr;
    std::int64_t offset = 0;  // in the bucket
  };
  // Of parameters that the same ranks hold.
  struct Bucket {
    comm::Communicator* replicas = nullptr;
    std::vector<Member> members = {};
    std::int64_t numel = 0;    // a multiple of what the ranks share out
    at::Tensor sums = {};      // [numel]
    at::Tensor own_sums = {};  // this rank's part, where they are shared out
    [[nodiscard]] bool is_shared_out() const { return own_sums.defined(); }
    [[nodiscard]] std::int64_t part() const { return numel / replicas->size(); }
    [[nodiscard]] std::string name() const;
  };
  [[nodiscard]] std::vector<at::Tensor> own_gradients() const;
  [[nodiscard]] optim::GradNorms norms_of_slices();

  std::vector<ops::Parameter*> parameters_;
  RankGroups& groups_;
  bool shares_out_;
  std::vector<Bucket> buckets_;
};

}  // namespace switchyard::parallel
