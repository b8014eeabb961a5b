// Gradients across ranks, and who updates what: the gradients of many parameters are a few flat
// buffers, each added up over the ranks that hold the same parameters.
//
// With shared-out optimizer state (ZeRO stage 1: Rajbhandari et al., "ZeRO: Memory Optimizations
// Toward Training Trillion Parameter Models", SC 2020) a rank gets the sum of its own part of every
// buffer alone, updates the slices of parameters that are in it, and is given the others' masters.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
  Gradients(const Gradients&) = delete;
  Gradients& operator=(const Gradients&) = delete;
  ~Gradients();

  // The next backward pass is the last before reduce(): where ranks can do that beside computing
  // (Communicator::begin), a buffer is added up as soon as backward is through with its parameters,
  // in the order of the buffers. Which gradients come, and how often, is what came in the last such
  // pass; the first one adds up nothing.
  void begin_last_backward();
  // Adds up over the replicas of each parameter what is not yet. A collective of all ranks: a
  // parameter that got no gradient takes part with zeros. Throws InternalError when a gradient came
  // after its buffer was added up.
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
    std::int64_t num_missing = 0;           // members whose gradients are to come
    std::unique_ptr<comm::Work> work = {};  // that adds up
    [[nodiscard]] std::string name() const;
  };
  // Of a parameter, in the last backward pass.
  struct Arrivals {
    std::size_t bucket = 0;
    unsigned hook = 0;
    std::int64_t expected = 0;  // none, as in the first step: it holds its bucket up
    std::int64_t seen = 0;
  };
  void watch_arrivals();
  void note_arrival(std::size_t idx);
  void settle_arrival();
  void begin_next();
  [[nodiscard]] std::vector<at::Tensor> own_gradients() const;
  [[nodiscard]] optim::GradNorms norms_of_slices();

  std::vector<ops::Parameter*> parameters_;
  RankGroups& groups_;
  bool shares_out_;
  std::vector<Bucket> buckets_;

  std::vector<Arrivals> arrivals_;  // by parameter; empty where nothing is added up
  bool is_last_backward_ = false;
  std::optional<std::size_t> arriving_;  // its gradient is added when the next one comes
  std::size_t next_ = 0;                 // bucket to be added up
  std::string late_;                     // a parameter whose gradient came too late
};

}  // namespace switchyard::parallel
