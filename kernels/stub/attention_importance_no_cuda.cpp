#include "switchyard/kernels/attention_importance.h"

#include "stub/no_cuda.h"

namespace switchyard::kernels::cuda {

void attention_importance(const AttentionImportanceParams<float>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention_importance");
}
void attention_importance(const AttentionImportanceParams<double>& /*params*/, Stream /*stream*/) {
  throw_no_cuda("attention_importance");
}
void attention_importance(const AttentionImportanceParams<BFloat16>& /*params*/,
                          Stream /*stream*/) {
  throw_no_cuda("attention_importance");
}

}  // namespace switchyard::kernels::cuda
