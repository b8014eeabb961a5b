// Which set of data.blend a sample comes from: exact arithmetic on the weights, without a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace switchyard::config {

// A tree of pairs, the two lightest joined first. Of the first n samples of a node, its left branch
// has got floor(n s + 1/2), where s is its share of the node, a fraction of 2^63; the right branch
// has the rest. So every sample belongs to one set, a set's count never falls, and after any number
// of samples it is less than 3/2 away from its share (less than 1/2 for two sets): along a path an
// error is multiplied by a share, which is at most 2/3 for a branch that is divided again.
class BlendOrder {
 public:
  // Weights are positive and finite; at least one.
  explicit BlendOrder(std::span<const double> weights);

  struct Turn {
    std::size_t set;
    std::int64_t index;  // how many samples the set gave before
  };
  // Sample `index` >= 0 of the blend. Time and memory: the number of sets.
  [[nodiscard]] Turn at(std::int64_t index) const;
  // How many of the first `num_samples` come from each set.
  [[nodiscard]] std::vector<std::int64_t> counts(std::int64_t num_samples) const;

 private:
  struct Node {
    double weight = 0.0;
    std::size_t set = 0;   // of a leaf; of a pair the lowest below it
    std::size_t left = 0;  // both 0: a leaf
    std::size_t right = 0;
    std::uint64_t left_share = 0;  // of 2^63
  };

  std::vector<Node> nodes_;  // the root is the last
};

}  // namespace switchyard::config
