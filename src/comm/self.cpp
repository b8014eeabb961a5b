#include "switchyard/comm/self.h"

#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

class SelfCommunicator final : public Communicator {
 public:
  [[nodiscard]] std::int64_t rank() const override { return 0; }
  [[nodiscard]] std::int64_t size() const override { return 1; }

  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    check_sendable(tensor, name);
  }

  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    check_blocks(own, all, 1, name);
    own.copy_(all);
  }

  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    check_blocks(own, all, 1, name);
    all.copy_(own);
  }

  void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                  const RankRows& receive_rows, std::string_view name) override {
    check_rows(send, send_rows, receive, receive_rows, 1, name);
    SWITCHYARD_CHECK(send_rows.count == receive_rows.count,
                     "{}: rank 0 sends {} rows to itself and expects {}", name,
                     fmt::join(send_rows.count, ", "), fmt::join(receive_rows.count, ", "));
    const std::vector<at::Tensor> sent = send_rows.parts_of(send);
    const std::vector<at::Tensor> targets = receive_rows.parts_of(receive);
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i].copy_(sent[i]);
  }

  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    check_sendable(tensor, name);
    SWITCHYARD_CHECK(root == 0, "{}: broadcast from rank {} of 1", name, root);
  }

  void barrier(std::string_view /*name*/) override {}

  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    check_group(group, name);
    return make_self_communicator();
  }
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() {
  return std::make_unique<SelfCommunicator>();
}

}  // namespace switchyard::comm
