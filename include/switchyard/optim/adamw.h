// AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019) over the masters
// of all parameters at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::optim {

// With g the gradient buffer, t the number of updates made so far plus one:
//   master -= lr * weight_decay * master        (parameters with `decay` only)
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//   master -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
class AdamW {
 public:
  struct Moments {
    at::Tensor first;   // m, as the master
    at::Tensor second;  // v
  };

  // Keeps pointers: the parameters must outlive this. Moments start at 0.
  AdamW(std::vector<ops::Parameter*> parameters, const config::OptimConfig& config);

  // One update of every master from its `grad`, then publish() of every value. Every parameter
  // must have a gradient buffer (zero for an expert that no token reached).
  void step(double learning_rate);

  // Updates made; skipped steps do not count.
  [[nodiscard]] std::int64_t num_updates() const { return num_updates_; }
  // In the order of the parameters given. Tensors share storage with the optimizer's.
  [[nodiscard]] const std::vector<ops::Parameter*>& parameters() const { return parameters_; }
  [[nodiscard]] const std::vector<Moments>& moments() const { return moments_; }
  // After loading the moments in place.
  void set_num_updates(std::int64_t num_updates) { num_updates_ = num_updates; }

 private:
  struct Group {
    std::vector<std::size_t> members;  // indices into parameters_
    double weight_decay = 0.0;
  };
  void step_group(const Group& group, double learning_rate, const at::Tensor& update_count);

  config::OptimConfig config_;
  std::vector<ops::Parameter*> parameters_;
  std::vector<Moments> moments_;
  std::vector<Group> groups_;
  std::int64_t num_updates_ = 0;
};

}  // namespace switchyard::optim
