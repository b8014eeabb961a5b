#include "switchyard/model/model.h"

namespace switchyard::model {

void Model::initialize(std::uint64_t seed) {
  for (ops::Parameter* parameter : parameters()) ops::initialize(*parameter, seed);
}

std::vector<ops::Parameter*> Model::parameters() {
  std::vector<ops::Parameter*> list = trunk_.parameters();
  const std::vector<ops::Parameter*> head = head_parameters();
  list.insert(list.end(), head.begin(), head.end());
  return list;
}

}  // namespace switchyard::model
