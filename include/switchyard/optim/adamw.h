// AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019) over the masters
// of all parameters at once, or over the slices of them that one rank of several updates.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::optim {

// Elements begin .. begin + count of a flattened parameter.
struct Slice {
  ops::Parameter* parameter = nullptr;
  std::int64_t begin = 0;
  std::int64_t count = 0;
  at::Tensor grad = {};  // [count], theirs; undefined: they are in the parameter's own buffer
  double learning_rate_scale = 1.0;

  // [count], sharing storage. Throws InternalError when there is no buffer.
  [[nodiscard]] at::Tensor gradient() const;
  [[nodiscard]] at::Tensor master() const;
};

// All of each parameter.
[[nodiscard]] std::vector<Slice> whole(const std::vector<ops::Parameter*>& parameters);

// With g the gradient, lr the learning rate times the slice's scale, t the number of updates made
// so far plus one:
//   master -= lr * weight_decay * master        (parameters with `decay` only)
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//   master -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
class AdamW {
 public:
  struct Moments {
    at::Tensor first;   // m, [count] of the slice
    at::Tensor second;  // v
  };

  // Keeps pointers: the parameters must outlive this. Moments start at 0.
  AdamW(std::vector<Slice> slices, const config::OptimConfig& config);

  // One update of every slice of a master from its gradient (zero for an expert that no token
  // reached). The values are as they were: ops::publish() takes the masters over.
  void update(double learning_rate);
  // That, and publish() of every parameter.
  void step(double learning_rate);

  // Updates made; skipped steps do not count.
  [[nodiscard]] std::int64_t num_updates() const { return num_updates_; }
  // In the order given. Tensors share storage with the optimizer's.
  [[nodiscard]] const std::vector<Slice>& slices() const { return slices_; }
  [[nodiscard]] const std::vector<Moments>& moments() const { return moments_; }
  // After loading the moments in place.
  void set_num_updates(std::int64_t num_updates) { num_updates_ = num_updates; }

 private:
  struct Group {
    std::vector<std::size_t> members;  // indices into slices_
    double weight_decay = 0.0;
    double learning_rate_scale = 1.0;
    bool is_small = false;  // handing one to threads takes longer than updating it
  };
  void step_group(const Group& group, double learning_rate, const at::Tensor& update_count);

  config::OptimConfig config_;
  std::vector<Slice> slices_;
  std::vector<Moments> moments_;
  std::vector<Group> groups_;
  std::int64_t num_updates_ = 0;
};

}  // namespace switchyard::optim
