#include "switchyard/comm/communicator.h"

#include "switchyard/core/error.h"

namespace switchyard::comm {

void check_sendable(const at::Tensor& tensor, std::string_view name) {
  SWITCHYARD_CHECK(tensor.defined(), "{}: undefined tensor", name);
  SWITCHYARD_CHECK(tensor.is_contiguous(), "{}: tensor is not contiguous", name);
  SWITCHYARD_CHECK(!tensor.requires_grad(), "{}: tensor requires grad", name);
}

}  // namespace switchyard::comm
