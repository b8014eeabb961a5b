// LibTorch's operators on the simulated device: those that make, copy and read tensors, views as
// they are on every device, and for all others the CPU's on the host's view of the same memory.
#include "support/simulated_device/operators.h"

#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/simulated_device/memory.h"
#include "support/simulated_device/traffic.h"

namespace switchyard::simulated_device {

at::Tensor view_of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  const auto options = tensor.options().device(at::kCPU).requires_grad(false);
  at::Tensor view = tensor.numel() == 0
                        ? at::empty_strided(tensor.sizes(), tensor.strides(), options)
                        : at::from_blob(host_view(const_cast<void*>(tensor.const_data_ptr())),
                                        tensor.sizes(), tensor.strides(), options);
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    view.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return view;
}

namespace {

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::CUDA);

at::Tensor to_device(const at::Tensor& host, c10::Device device, const std::string& op) {
  if (!host.defined() || !host.is_cpu()) return host;
  TORCH_CHECK(host.numel() == 0 || !is_host_view(host.const_data_ptr()), op,
              " returns a view: the simulated device does not know it");
  const at::Tensor result =
      at::empty_strided(host.sizes(), host.strides(), host.options().device(device));
  if (host.numel() > 0) view_of(result).copy_(host);
  return result;
}

// ---- Operators of the device itself

c10::Device index_of(std::optional<c10::Device> device) {
  at::globalContext().lazyInitDevice(c10::kCUDA);  // before that, no memory counts as pinned
  return device.value_or(c10::Device(c10::kCUDA, -1));
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout> /*layout*/, std::optional<c10::Device> device,
                 std::optional<bool> /*pin_memory*/, std::optional<at::MemoryFormat> format) {
  const CurrentOperator current("aten::empty");
  const c10::DeviceGuard guard(index_of(device));
  return at::detail::empty_generic(size, c10::GetAllocator(c10::kCUDA), kKeys,
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout> /*layout*/,
                         std::optional<c10::Device> device, std::optional<bool> /*pin_memory*/) {
  const CurrentOperator current("aten::empty_strided");
  const c10::DeviceGuard guard(index_of(device));
  return at::detail::empty_strided_generic(size, stride, c10::GetAllocator(c10::kCUDA), kKeys,
                                           c10::dtype_or_default(dtype));
}

// Between devices or within one, and from and to the host.
at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  const CurrentOperator current("aten::copy_");
  view_of(self).copy_(view_of(source));
  if (self.is_cuda() && source.is_cuda()) return self;
  const at::Tensor& host = self.is_cuda() ? source : self;
  if (!self.is_cuda()) count_copy_to_host("copy");
  // As CUDA does: from and to memory that is not pinned the host waits, whatever was asked.
  if (!non_blocking || !host.is_pinned()) count_wait(self.is_cuda() ? "copy to device" : "copy");
  return self;
}

at::Scalar item(const at::Tensor& self) {
  const CurrentOperator current("aten::item");
  count_wait("item");
  count_copy_to_host("item");
  return view_of(self).item();
}

const at::Tensor& resize_storage(const at::Tensor& self, at::IntArrayRef size,
                                 std::optional<at::MemoryFormat> /*format*/) {
  c10::TensorImpl* const impl = self.unsafeGetTensorImpl();
  const std::size_t needed = at::detail::computeStorageNbytesContiguous(
      size, self.itemsize(), static_cast<std::size_t>(self.storage_offset()));
  const c10::Storage& storage = self.storage();
  if (needed > storage.nbytes()) {
    const c10::DeviceGuard guard(self.device());
    c10::DataPtr memory = c10::GetAllocator(c10::kCUDA)->allocate(needed);
    if (storage.nbytes() > 0) {
      std::memcpy(host_view(memory.get()), host_view(const_cast<void*>(storage.data())),
                  storage.nbytes());
    }
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(memory));
    storage.unsafeGetStorageImpl()->set_nbytes(needed);
  }
  impl->set_sizes_contiguous(size);
  return self;
}

// CUDA's alone: sums and outputs in fp32 of a product of bf16 matrices.
at::Tensor& addmm_of_dtype(const at::Tensor& self, const at::Tensor& a, const at::Tensor& b,
                           at::ScalarType dtype, const at::Scalar& beta, const at::Scalar& alpha,
                           at::Tensor& out) {
  const CurrentOperator current("aten::addmm");
  TORCH_CHECK(
      self.device() == out.device() && a.device() == out.device() && b.device() == out.device(),
      "addmm of tensors on several devices");
  TORCH_CHECK(a.scalar_type() == b.scalar_type() && out.scalar_type() == dtype &&
                  (self.scalar_type() == dtype || self.scalar_type() == a.scalar_type()) &&
                  (dtype == a.scalar_type() || (dtype == at::kFloat && a.itemsize() == 2)),
              "addmm of ", a.scalar_type(), " and ", b.scalar_type(), " to ", self.scalar_type(),
              " into ", out.scalar_type());
  at::Tensor sum = view_of(out);
  sum.copy_(
      at::addmm(view_of(self).to(dtype), view_of(a).to(dtype), view_of(b).to(dtype), beta, alpha));
  return out;
}

// ---- Operators of the CPU in place of the device's

// Element-wise operators take numbers from the host; those that follow indices do not.
bool takes_host_numbers(std::string_view op) {
  for (const char* start : {"aten::index", "aten::gather", "aten::scatter", "aten::embedding"}) {
    if (op.starts_with(start)) return false;
  }
  return true;
}

// The arguments of one call, the tensors among them replaced by the host's views.
class Arguments {
 public:
  Arguments(const c10::OperatorHandle& op, torch::jit::Stack& stack)
      : op_(op.schema().name()),
        first_(stack.size() - op.schema().arguments().size()),
        originals_(stack.begin() + static_cast<std::ptrdiff_t>(first_), stack.end()) {
    for (std::size_t i = 0; i < originals_.size(); ++i) {
      const c10::AliasInfo* alias = op.schema().arguments()[i].alias_info();
      is_written_ = alias != nullptr && alias->isWrite();
      stack[first_ + i] = viewed(originals_[i]);
    }
    if (!device_) device_ = c10::Device(c10::kCUDA, -1);
    check_devices();
  }

  [[nodiscard]] c10::Device device() const { return *device_; }
  [[nodiscard]] std::size_t first() const { return first_; }
  [[nodiscard]] const c10::IValue& original(std::size_t idx) const { return originals_[idx]; }
  [[nodiscard]] const std::vector<at::Tensor>& tensors() const { return tensors_; }

 private:
  c10::IValue viewed(const c10::IValue& value) {
    if (value.isTensor()) return view(value.toTensor());
    if (value.isTensorList()) {
      std::vector<at::Tensor> views;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        views.push_back(view(tensor));
        if (tensor.defined()) in_lists_.push_back(tensor);
      }
      return c10::IValue(views);
    }
    if (value.isList() && value.toList().elementType()->kind() == c10::TypeKind::OptionalType) {
      c10::List<std::optional<at::Tensor>> views;
      for (const c10::IValue& element : value.toListRef()) {
        views.push_back(element.isTensor() ? std::optional(view(element.toTensor()))
                                           : std::nullopt);
      }
      return c10::IValue(views);
    }
    if (value.isDevice() && value.toDevice().is_cuda()) {
      device_ = value.toDevice();
      return c10::Device(c10::kCPU);
    }
    return value;
  }

  at::Tensor view(const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    TORCH_CHECK(!is_written_ || tensor.is_cuda(), op_, " writes to a tensor on the CPU");
    tensors_.push_back(tensor);
    if (tensor.is_cuda() && !device_) device_ = tensor.device();
    return view_of(tensor);
  }

  // What cpu_fallback() leaves out: it would copy each argument to the CPU, wherever that is.
  void check_devices() const {
    for (const at::Tensor& tensor : tensors_) {
      if (tensor.device() == *device_) continue;
      const bool is_number = tensor.is_cpu() && tensor.dim() == 0 && takes_host_numbers(op_);
      TORCH_CHECK(is_number || !tensor.device().is_cpu(), op_, " got a tensor of ", tensor.sizes(),
                  " on the CPU beside others on ", *device_);
      TORCH_CHECK(is_number, op_, " got a tensor on ", tensor.device(), " beside others on ",
                  *device_);
    }
    // Their addresses are arguments of one kernel, numbers (counts of steps) or not.
    for (const at::Tensor& tensor : in_lists_) {
      TORCH_CHECK(tensor.device() == *device_, op_, " got a list with a tensor of ", tensor.sizes(),
                  " on ", tensor.device(), " beside others on ", *device_);
    }
  }

  std::string op_;
  std::size_t first_;
  std::vector<c10::IValue> originals_;
  std::vector<at::Tensor> tensors_;
  std::vector<at::Tensor> in_lists_;  // of tensors_
  std::optional<c10::Device> device_;
  bool is_written_ = false;  // the argument that is looked at
};

// A GPU cannot tell the host the size or the value of their results without being waited for.
bool makes_the_host_wait(const c10::FunctionSchema& schema, const Arguments& arguments) {
  static const std::set<std::string_view> kOps{"aten::equal",
                                               "aten::nonzero",
                                               "aten::masked_select",
                                               "aten::_unique2",
                                               "aten::unique_consecutive",
                                               "aten::bincount",
                                               "aten::histc",
                                               "aten::nonzero_numpy"};
  const std::string& op = schema.name();
  const std::vector<at::Tensor>& tensors = arguments.tensors();
  if (kOps.contains(op)) return true;
  // Of its two arguments the second says how long the result is.
  if (op == "aten::repeat_interleave") return arguments.original(1).isNone();
  if (op == "aten::_grouped_mm") return tensors[0].scalar_type() != at::kBFloat16;  // its loop
  const bool picks_by_mask =
      op == "aten::index" || op == "aten::index_put_" || op == "aten::_index_put_impl_";
  return picks_by_mask && std::any_of(tensors.begin() + 1, tensors.end(), [](const at::Tensor& t) {
           return t.scalar_type() == at::kBool || t.scalar_type() == at::kByte;
         });
}

// The argument that an operator returns because it wrote to it, if that is what the result is.
std::optional<std::size_t> written_argument(const c10::FunctionSchema& schema, std::size_t result) {
  const c10::AliasInfo* alias = schema.returns()[result].alias_info();
  if (alias == nullptr || !alias->isWrite()) return std::nullopt;
  for (std::size_t i = 0; i < schema.arguments().size(); ++i) {
    const c10::AliasInfo* of_argument = schema.arguments()[i].alias_info();
    if (of_argument != nullptr && of_argument->isWrite() &&
        of_argument->beforeSets() == alias->beforeSets()) {
      return i;
    }
  }
  return std::nullopt;
}

// An operator may give an empty output its shape.
void take_shape(const at::Tensor& output, const at::Tensor& view) {
  if (output.sizes() == view.sizes()) return;
  resize_storage(output, view.sizes(), std::nullopt);
  view_of(output).copy_(view);
}

void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const c10::FunctionSchema& schema = op.schema();
  const CurrentOperator current(schema.name().c_str());
  const Arguments arguments(op, *stack);
  if (makes_the_host_wait(schema, arguments)) count_wait(schema.name().c_str());
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  const c10::DeviceGuard guard(arguments.device());
  for (std::size_t i = 0; i < schema.returns().size(); ++i) {
    c10::IValue& result = (*stack)[arguments.first() + i];
    if (const auto written = written_argument(schema, i)) {
      const c10::IValue& original = arguments.original(*written);
      if (original.isTensor()) take_shape(original.toTensor(), result.toTensor());
      result = original;
    } else if (result.isTensor()) {
      result = to_device(result.toTensor(), arguments.device(), schema.name());
    } else if (result.isTensorList()) {
      std::vector<at::Tensor> list;
      for (const at::Tensor& tensor : result.toTensorVector()) {
        list.push_back(to_device(tensor, arguments.device(), schema.name()));
      }
      result = list;
    }
  }
}

// Of a GPU, products over the rows of groups leave the matrices of empty groups as they were: NaN
// here.
void run_grouped_mm(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const std::size_t first = stack->size() - op.schema().arguments().size();
  const bool sums_over_rows =
      (*stack)[first].toTensor().dim() == 2 && (*stack)[first + 1].toTensor().dim() == 2;
  const at::Tensor ends = (*stack)[first + 2].toTensor();
  run_on_host(op, stack);
  if (!sums_over_rows) return;
  const at::Tensor product = view_of((*stack)[first].toTensor());
  const at::Tensor ends_on_host = view_of(ends);
  for (std::int64_t g = 0, begin = 0; g < ends_on_host.numel(); ++g) {
    const auto end = ends_on_host.const_data_ptr<std::int32_t>()[g];
    if (end == begin) product.select(0, g).fill_(std::numeric_limits<double>::quiet_NaN());
    begin = end;
  }
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("copy_", &copy);
  library.impl("_local_scalar_dense", &item);
  library.impl("resize_", &resize_storage);
  library.impl("addmm.dtype_out", &addmm_of_dtype);
  library.impl("as_strided", &at::native::as_strided_tensorimpl);
  library.impl("view", &at::native::view);
  library.impl("_reshape_alias", &at::native::_reshape_alias);
  library.impl("unfold", &at::native::unfold);
  // Otherwise composed of others, with waits that CUDA's own has not.
  library.impl("_grouped_mm", torch::CppFunction::makeFromBoxedFunction<&run_grouped_mm>());
}

}  // namespace
}  // namespace switchyard::simulated_device
