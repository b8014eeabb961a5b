#include "switchyard/ops/add_product.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

namespace switchyard::ops {

void add_product(const at::Tensor& sum_MN, const at::Tensor& a_MK, const at::Tensor& b_KN) {
  at::Tensor sum = sum_MN;
  if (sum.scalar_type() == a_MK.scalar_type()) {
    sum.addmm_(a_MK, b_KN);
  } else if (sum.is_cuda()) {
    at::addmm_out(sum, sum, a_MK, b_KN, sum.scalar_type());
  } else {
    sum.add_(at::mm(a_MK, b_KN));
  }
}

}  // namespace switchyard::ops
