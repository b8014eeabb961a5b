// A communicator that passes everything on, for those that do one thing differently.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

class Forwarding : public Communicator {
 public:
  // `ranks` must outlive this.
  explicit Forwarding(Communicator& ranks) : ranks_(ranks) {}
  explicit Forwarding(std::unique_ptr<Communicator> ranks)
      : own_(std::move(ranks)), ranks_(*own_) {}

  [[nodiscard]] std::int64_t rank() const override { return ranks_.rank(); }
  [[nodiscard]] std::int64_t size() const override { return ranks_.size(); }
  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    ranks_.all_reduce_sum(tensor, name);
  }
  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    ranks_.reduce_scatter_sum(all, own, name);
  }
  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    ranks_.all_gather(own, all, name);
  }
  void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                  const RankRows& receive_rows, std::string_view name) override {
    ranks_.all_to_all(send, send_rows, receive, receive_rows, name);
  }
  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    ranks_.broadcast(tensor, root, name);
  }
  void barrier(std::string_view name) override { ranks_.barrier(name); }
  // The group does not come by here, unless this is overridden too.
  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    return ranks_.split(group, name);
  }
  [[nodiscard]] std::unique_ptr<Work> begin(std::function<void()> collectives) override {
    return ranks_.begin(std::move(collectives));
  }
  void set_timeout(std::chrono::seconds timeout) override { ranks_.set_timeout(timeout); }
  void abandon() override { ranks_.abandon(); }
  [[nodiscard]] Communicator* beneath() override { return &ranks_; }

 protected:
  [[nodiscard]] Communicator& ranks() { return ranks_; }

 private:
  std::unique_ptr<Communicator> own_;  // none: somebody else's
  Communicator& ranks_;
};

}  // namespace switchyard::comm
