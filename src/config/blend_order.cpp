#include "switchyard/config/blend_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

constexpr int kShareBits = 63;

// floor(n share / 2^63 + 1/2), exactly.
std::int64_t rounded_share(std::int64_t n, std::uint64_t share) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(n) * share + (Wide{1} << (kShareBits - 1));
  return static_cast<std::int64_t>(product >> kShareBits);
}

std::uint64_t share_of(double part, double other) {
  return static_cast<std::uint64_t>(std::ldexp(part / (part + other), kShareBits));
}

}  // namespace

BlendOrder::BlendOrder(std::span<const double> weights) {
  SWITCHYARD_CHECK(!weights.empty(), "a blend of nothing");
  const double largest = *std::max_element(weights.begin(), weights.end());
  // Lightest first; of equal ones the lower set is taken later, so that it leads.
  const auto later = [this](std::size_t a, std::size_t b) {
    return std::pair(nodes_[a].weight, nodes_[b].set) > std::pair(nodes_[b].weight, nodes_[a].set);
  };
  std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> open(later);
  for (std::size_t set = 0; set < weights.size(); ++set) {
    SWITCHYARD_CHECK(std::isfinite(weights[set]) && weights[set] > 0.0, "weight {}", weights[set]);
    const double weight = std::max(weights[set] / largest, std::numeric_limits<double>::min());
    nodes_.push_back({.weight = weight, .set = set});
    open.push(set);
  }
  while (open.size() > 1) {
    std::size_t left = open.top();
    open.pop();
    std::size_t right = open.top();
    open.pop();
    if (nodes_[right].set < nodes_[left].set) std::swap(left, right);
    nodes_.push_back({.weight = nodes_[left].weight + nodes_[right].weight,
                      .set = nodes_[left].set,
                      .left = left,
                      .right = right,
                      .left_share = share_of(nodes_[left].weight, nodes_[right].weight)});
    open.push(nodes_.size() - 1);
  }
}

BlendOrder::Turn BlendOrder::at(std::int64_t index) const {
  const Node* node = &nodes_.back();
  while (node->left != node->right) {
    const std::int64_t left_before = rounded_share(index, node->left_share);
    if (rounded_share(index + 1, node->left_share) > left_before) {
      node = &nodes_[node->left];
      index = left_before;
    } else {
      node = &nodes_[node->right];
      index -= left_before;
    }
  }
  return {node->set, index};
}

std::vector<std::int64_t> BlendOrder::counts(std::int64_t num_samples) const {
  std::vector<std::int64_t> counts((nodes_.size() + 1) / 2, 0);
  // Pairs come after what they join: from the root down, each knows its own number by then.
  std::vector<std::int64_t> of_node(nodes_.size(), 0);
  of_node.back() = num_samples;
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    const Node& node = nodes_[i];
    if (node.left == node.right) {
      counts[node.set] = of_node[i];
      continue;
    }
    of_node[node.left] = rounded_share(of_node[i], node.left_share);
    of_node[node.right] = of_node[i] - of_node[node.left];
  }
  return counts;
}

}  // namespace switchyard::config
