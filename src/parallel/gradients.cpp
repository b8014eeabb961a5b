#include "switchyard/parallel/gradients.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::parallel {
namespace {

// Large enough for the links between ranks, small enough to be under way while others are computed.
constexpr std::int64_t kBucketBytes = std::int64_t{32} << 20;
// Parameters, and parts of ranks, begin where any kernel may read 16 bytes at a time.
constexpr std::int64_t kAlignment = 64;  // elements

std::int64_t rounded_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Of elements begin .. end of a bucket, those of a parameter that begins at `offset` there.
optim::Slice slice_between(std::int64_t begin, std::int64_t end, ops::Parameter& parameter,
                           std::int64_t offset) {
  const std::int64_t first = std::max(begin, offset);
  const std::int64_t last = std::min(end, offset + parameter.numel());
  return {.parameter = &parameter,
          .begin = first - offset,
          .count = std::max<std::int64_t>(0, last - first)};
}

// optim::grad_norms over the experts of all ranks of the expert group.
optim::GradNorms norms_of_whole_gradients(std::span<ops::Parameter* const> parameters,
                                          comm::Communicator& group) {
  return optim::grad_norms(parameters, [&group](const at::Tensor& own_K) {
    at::Tensor all = at::zeros({group.size(), own_K.numel()}, own_K.options());
    all.select(0, group.rank()).copy_(own_K);
    group.all_reduce_sum(all, "gradient norms of experts");
    return all;
  });
}

}  // namespace

std::string Gradients::Bucket::name() const {
  const std::string& first = members.front().parameter->name;
  return members.size() == 1 ? first
                             : fmt::format("{} to {}", first, members.back().parameter->name);
}

// Backward comes to the last parameters first.
Gradients::Gradients(std::span<ops::Parameter* const> parameters, RankGroups& groups,
                     bool shares_out)
    : parameters_(parameters.begin(), parameters.end()), groups_(groups), shares_out_(shares_out) {
  std::map<comm::Communicator*, std::size_t> open;  // the bucket that is being filled
  for (std::size_t idx = parameters_.size(); idx-- > 0;) {
    ops::Parameter& parameter = *parameters_[idx];
    comm::Communicator* const replicas = &groups.replicas(parameter);
    const std::int64_t most = kBucketBytes / parameter.master.element_size();
    const auto found = open.find(replicas);
    if (found == open.end() || buckets_[found->second].numel + parameter.numel() > most) {
      open[replicas] = buckets_.size();
      buckets_.push_back({.replicas = replicas});
    }
    Bucket& bucket = buckets_[open[replicas]];
    bucket.members.push_back({.idx = idx, .parameter = &parameter, .offset = bucket.numel});
    bucket.numel += rounded_up(parameter.numel(), kAlignment);
  }
  // In the order in which they will be whole: backward comes to the first parameters last.
  std::sort(buckets_.begin(), buckets_.end(), [](const Bucket& a, const Bucket& b) {
    return a.members.back().idx > b.members.back().idx;
  });
  for (Bucket& bucket : buckets_) {
    bucket.numel = rounded_up(bucket.numel, kAlignment * bucket.replicas->size());
    const at::Tensor& like = bucket.members.front().parameter->master;
    const at::TensorOptions options = like.options().requires_grad(false);
    bucket.sums = at::zeros({bucket.numel}, options);
    for (const Member& member : bucket.members) {
      ops::Parameter& parameter = *member.parameter;
      SWITCHYARD_CHECK(parameter.master.scalar_type() == like.scalar_type(),
                       "{} adds up gradients in another type than {}", parameter.name,
                       bucket.name());
      parameter.grad =
          bucket.sums.narrow(0, member.offset, parameter.numel()).view(parameter.master.sizes());
    }
    if (shares_out && bucket.replicas->size() > 1) {
      bucket.own_sums = at::zeros({bucket.part()}, options);
    }
  }
  if (groups.layout().num_ranks > 1) watch_arrivals();
}

Gradients::~Gradients() {
  for (std::size_t idx = 0; idx < arrivals_.size(); ++idx) {
    parameters_[idx]->value.remove_hook(arrivals_[idx].hook);
  }
}

// Autograd calls the hook of a leaf just before it adds the leaf's gradient, one leaf at a time,
// also where the gradient is undefined because it went into the buffer by itself.
void Gradients::watch_arrivals() {
  arrivals_.resize(parameters_.size());
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    for (const Member& member : buckets_[bucket].members) {
      arrivals_[member.idx].bucket = bucket;
      arrivals_[member.idx].hook = member.parameter->value.register_hook(
          [this, idx = member.idx](const at::Tensor& /*gradient*/) { note_arrival(idx); });
    }
  }
}

void Gradients::note_arrival(std::size_t idx) {
  if (!is_last_backward_) return;
  settle_arrival();
  Arrivals& arrivals = arrivals_[idx];
  ++arrivals.seen;
  const bool is_sent = arrivals.bucket < next_;
  if (is_sent && buckets_[arrivals.bucket].replicas->size() > 1) late_ = parameters_[idx]->name;
  arriving_ = idx;
}

void Gradients::settle_arrival() {
  if (!arriving_) return;
  const Arrivals& arrivals = arrivals_[*std::exchange(arriving_, std::nullopt)];
  if (arrivals.seen != arrivals.expected) return;
  --buckets_[arrivals.bucket].num_missing;
  while (next_ < buckets_.size() && buckets_[next_].num_missing == 0) begin_next();
}

void Gradients::begin_last_backward() {
  is_last_backward_ = !arrivals_.empty();
  arriving_.reset();
  next_ = 0;
  late_.clear();
  for (Bucket& bucket : buckets_) {
    bucket.num_missing = std::ssize(bucket.members);  // one that may not come holds the others up
    bucket.work.reset();
  }
  for (Arrivals& arrivals : arrivals_) arrivals.seen = 0;
}

void Gradients::begin_next() {
  Bucket& bucket = buckets_[next_++];
  if (bucket.replicas->size() == 1) return;
  for (const Member& member : bucket.members) ops::collect_grad(*member.parameter);
  bucket.work =
      bucket.replicas->begin([replicas = bucket.replicas, sums = bucket.sums,
                              own_sums = bucket.own_sums, name = bucket.name()]() mutable {
        if (own_sums.defined()) {
          replicas->reduce_scatter_sum(sums, own_sums, name);
        } else {
          replicas->all_reduce_sum(sums, name);
        }
      });
}

void Gradients::reduce() {
  settle_arrival();
  if (std::exchange(is_last_backward_, false)) {
    for (Arrivals& arrivals : arrivals_) arrivals.expected = arrivals.seen;
  }
  while (next_ < buckets_.size()) begin_next();
  for (Bucket& bucket : buckets_) {
    if (const std::unique_ptr<comm::Work> work = std::exchange(bucket.work, nullptr)) work->wait();
  }
  next_ = 0;
  SWITCHYARD_CHECK(late_.empty(), "a gradient of {} came after it was added up over the ranks",
                   late_);
}

std::vector<at::Tensor> Gradients::own_gradients() const {
  std::vector<at::Tensor> gradients;
  for (const optim::Slice& slice : slices()) gradients.push_back(slice.gradient());
  return gradients;
}

bool Gradients::is_shared_out() const {
  return shares_out_ && groups_.layout().num_ranks > 1;
}

optim::GradNorms Gradients::norms() {
  if (is_shared_out()) return norms_of_slices();
  optim::GradNorms norms = norms_of_whole_gradients(parameters_, groups_.expert_group());
  if (groups_.layout().num_ranks == 1) return norms;
  // Unlike CPUs may add up in other orders: what all clip by, and skip a step for, is rank 0's.
  at::Tensor total = at::scalar_tensor(norms.total, at::kDouble).view({1});
  groups_.world().broadcast(total, 0, "gradient norm");
  norms.total = total.item<double>();
  return norms;
}

// The ranks' slices are the whole model between them, experts and all. All ranks have as many
// parameters, of which each tells what it has.
optim::GradNorms Gradients::norms_of_slices() {
  const std::vector<double> squares = optim::sums_of_squares(own_gradients());
  const auto num_parameters = static_cast<std::int64_t>(parameters_.size());
  const at::Tensor own_P = at::zeros({num_parameters}, at::kDouble);
  // Slices are in the order of their parameters, some of which have none here.
  auto parameter = parameters_.begin();
  auto square = squares.begin();
  for (const optim::Slice& slice : slices()) {
    parameter = std::find(parameter, parameters_.end(), slice.parameter);
    own_P.mutable_data_ptr<double>()[parameter - parameters_.begin()] = *square++;
  }
  const RankLayout& layout = groups_.layout();
  at::Tensor all_RP = at::empty({layout.num_ranks * num_parameters}, at::kDouble);
  groups_.world().all_gather(own_P, all_RP, "gradient norms");
  const double* const square_RP = all_RP.const_data_ptr<double>();
  double total = 0.0;
  optim::GradNorms norms;
  for (std::int64_t idx = 0; idx < num_parameters; ++idx) {
    const bool is_on_all =
        parameters_[static_cast<std::size_t>(idx)]->replicas == ops::ReplicaGroup::all_ranks;
    double held = 0.0;
    for (std::int64_t rank = 0; rank < layout.num_ranks; ++rank) {
      const double of_rank = square_RP[rank * num_parameters + idx];
      total += of_rank;
      const bool holds_the_same = is_on_all || rank % layout.expert == layout.rank % layout.expert;
      if (holds_the_same) held += of_rank;
    }
    norms.of_parameter.push_back(std::sqrt(held));
  }
  norms.total = std::sqrt(total);
  return norms;
}

void Gradients::clip(double norm, double clip_norm) const {
  optim::clip_gradients(own_gradients(), norm, clip_norm);
}

std::vector<optim::Slice> Gradients::slices() const {
  std::map<std::size_t, optim::Slice> slice_of;  // by parameter
  for (const Bucket& bucket : buckets_) {
    const std::int64_t begin = bucket.is_shared_out() ? bucket.replicas->rank() * bucket.part() : 0;
    const std::int64_t end = bucket.is_shared_out() ? begin + bucket.part() : bucket.numel;
    for (const Member& member : bucket.members) {
      optim::Slice slice = slice_between(begin, end, *member.parameter, member.offset);
      if (slice.count == 0) continue;
      if (bucket.is_shared_out()) {
        slice.grad = bucket.own_sums.narrow(0, member.offset + slice.begin - begin, slice.count);
      }
      slice_of.emplace(member.idx, std::move(slice));
    }
  }
  std::vector<optim::Slice> slices;
  for (auto& [idx, slice] : slice_of) slices.push_back(std::move(slice));
  return slices;
}

void Gradients::gather_masters() {
  const at::NoGradGuard no_grad;
  for (Bucket& bucket : buckets_) {
    if (!bucket.is_shared_out()) continue;
    const std::int64_t begin = bucket.replicas->rank() * bucket.part();
    at::Tensor own = at::zeros({bucket.part()}, bucket.sums.options());
    for (const Member& member : bucket.members) {
      const optim::Slice slice =
          slice_between(begin, begin + bucket.part(), *member.parameter, member.offset);
      if (slice.count == 0) continue;
      own.narrow(0, member.offset + slice.begin - begin, slice.count).copy_(slice.master());
    }
    // The sums have been used.
    bucket.replicas->all_gather(own, bucket.sums, "masters of " + bucket.name());
    for (const Member& member : bucket.members) {
      member.parameter->master.detach().view({-1}).copy_(
          bucket.sums.narrow(0, member.offset, member.parameter->numel()));
    }
  }
}

}  // namespace switchyard::parallel
