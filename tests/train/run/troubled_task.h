// A task with memory that runs out where it is told to.
#pragma once

#include <cstdint>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/train/task.h"

namespace switchyard::train {

struct Trouble {
  std::int64_t evaluation = 0;  // after this step, from here on
  std::int64_t calibration = 0;
  std::int64_t sample = 0;
  std::int64_t micro_batch = 0;  // number of the forward pass that runs out of memory
  bool ends = false;             // only that one time
  bool infinite_weight = false;  // one that no loss shows
  std::function<void()> before_calibration = {};
  std::function<void()> before_sample = {};
  std::function<double(std::int64_t step)> judged = {};
  std::function<void(std::int64_t)> before_forward = {};  // with the number of the pass
};

class TroubledTask final : public Task, private Objective {
 public:
  TroubledTask(Task& task, const Trouble& trouble) : task_(task), trouble_(trouble) {}
  model::Model& model() override { return task_.model(); }
  Objective& objective() override { return *this; }
  bool can_evaluate() const override { return task_.can_evaluate(); }
  std::optional<telemetry::EvaluationRecord> evaluate(const EvaluationOptions& options) override {
    fail_at(options.step, trouble_.evaluation);
    return task_.evaluate(options);
  }
  std::optional<telemetry::EvaluationRecord> calibrate(const EvaluationOptions& options) override {
    fail_at(options.step, trouble_.calibration);
    if (trouble_.before_calibration) trouble_.before_calibration();
    return task_.calibrate(options);
  }
  double judged(const telemetry::EvaluationRecord& record) const override {
    return trouble_.judged ? trouble_.judged(record.step) : task_.judged(record);
  }
  bool can_sample() const override { return task_.can_sample(); }
  std::optional<std::string> sample(const EvaluationOptions& options) override {
    fail_at(options.step, trouble_.sample);
    if (trouble_.before_sample) trouble_.before_sample();
    return task_.sample(options);
  }
  const data::Tokenizer& tokenizer() const override { return task_.tokenizer(); }
  std::string data_fingerprint() const override { return task_.data_fingerprint(); }
  std::vector<std::string> next_commands(const std::string& run) const override {
    return task_.next_commands(run);
  }
  std::string describe_samples() const override { return task_.describe_samples(); }
  std::string_view loss_name() const override { return task_.loss_name(); }
  double flops_per_token(double k) const override { return task_.flops_per_token(k); }

 private:
  void fail_at(std::int64_t step, std::int64_t at) const {
    if (at > 0 && (trouble_.ends ? step == at : step >= at)) throw std::bad_alloc();
  }
  model::MicroBatch micro_batch(std::int64_t first, std::int64_t count,
                                std::int64_t sequence_idx) const override {
    return task_.objective().micro_batch(first, count, sequence_idx);
  }
  Result forward(const model::MicroBatch& micro, const model::ForwardContext& context) override {
    ++num_forward_passes_;
    if (trouble_.before_forward) trouble_.before_forward(num_forward_passes_);
    fail_at(num_forward_passes_, trouble_.micro_batch);
    return task_.objective().forward(micro, context);
  }

  Task& task_;
  Trouble trouble_;
  std::int64_t num_forward_passes_ = 0;
};

}  // namespace switchyard::train
