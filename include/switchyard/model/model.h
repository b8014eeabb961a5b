// A trunk with a head, as training, files and statistics see it, whatever the head is.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "switchyard/model/trunk.h"

namespace switchyard::model {

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  [[nodiscard]] TrunkOutput forward(const Batch& batch, const ForwardContext& context) {
    return trunk_.forward(batch, context);
  }
  // Fills every parameter; a function of the seed and the names of files alone.
  void initialize(std::uint64_t seed);
  // The trunk's, then the head's.
  [[nodiscard]] std::vector<ops::Parameter*> parameters();
  // By layer, for after_step and state.
  [[nodiscard]] std::map<std::int64_t, routing::Router*> routers() { return trunk_.routers(); }
  [[nodiscard]] const config::ModelConfig& config() const { return trunk_.config(); }
  [[nodiscard]] const ops::PrecisionPolicy& precision() const { return trunk_.precision(); }
  [[nodiscard]] at::Device device() const { return precision().device; }

 protected:
  Model(const config::ModelConfig& config, const TrunkBuild& build) : trunk_(config, build) {}
  [[nodiscard]] const Trunk& trunk() const { return trunk_; }
  [[nodiscard]] virtual std::vector<ops::Parameter*> head_parameters() = 0;

 private:
  Trunk trunk_;
};

}  // namespace switchyard::model
