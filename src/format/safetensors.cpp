#include "switchyard/format/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "format/little_endian.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/format/sorted_json.h"

namespace switchyard::format {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::size_t kDataAlignment = 64;

struct ScalarEntry {
  ScalarType type;
  const char* name;
  std::size_t bytes;
};
constexpr std::array<ScalarEntry, 10> kScalarTypes{{{ScalarType::kBool, "BOOL", 1},
                                                    {ScalarType::kU8, "U8", 1},
                                                    {ScalarType::kI8, "I8", 1},
                                                    {ScalarType::kI16, "I16", 2},
                                                    {ScalarType::kI32, "I32", 4},
                                                    {ScalarType::kI64, "I64", 8},
                                                    {ScalarType::kF16, "F16", 2},
                                                    {ScalarType::kBF16, "BF16", 2},
                                                    {ScalarType::kF32, "F32", 4},
                                                    {ScalarType::kF64, "F64", 8}}};

const ScalarEntry& entry_of(ScalarType type) {
  const auto* const found = std::find_if(kScalarTypes.begin(), kScalarTypes.end(),
                                         [type](const auto& entry) { return entry.type == type; });
  SWITCHYARD_CHECK(found != kScalarTypes.end(), "scalar type {}", static_cast<int>(type));
  return *found;
}

// numel * bytes per element, or none when the product without its zeros does not fit 63 bits.
std::optional<std::uint64_t> size_in_bytes(const std::vector<std::int64_t>& shape,
                                           ScalarType type) {
  std::uint64_t bytes = bytes_per_element(type);
  bool empty = false;
  for (const std::int64_t extent : shape) {
    const auto factor = static_cast<std::uint64_t>(extent);
    empty = empty || factor == 0;
    if (factor == 0) continue;
    if (bytes > std::numeric_limits<std::int64_t>::max() / factor) return std::nullopt;
    bytes *= factor;
  }
  return empty ? 0 : bytes;
}

std::vector<std::uint64_t> unsigned_list(const SortedJson& list, const std::string& where) {
  std::vector<std::uint64_t> values;
  values.reserve(list.size());
  for (const SortedJson& item : list) {
    if (!item.is_number_unsigned() || item.get<std::uint64_t>() > INT64_MAX) {
      throw DataError(fmt::format("{}: expected whole numbers of 63 bits in a list", where));
    }
    values.push_back(item.get<std::uint64_t>());
  }
  return values;
}

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  const std::string* tensor = nullptr;
};

TensorView parse_tensor(const SortedJson& value, std::span<const std::byte> data,
                        const std::string& where, Extent& extent) {
  const std::string dtype = json_string(value, "dtype", where);
  const auto* const scalar =
      std::find_if(kScalarTypes.begin(), kScalarTypes.end(),
                   [&dtype](const auto& entry) { return dtype == entry.name; });
  if (scalar == kScalarTypes.end()) {
    throw DataError(fmt::format("{}: dtype '{}' is not supported", where, printable(dtype)));
  }
  TensorView view;
  view.type = scalar->type;
  for (const std::uint64_t size : unsigned_list(json_array(value, "shape", where), where)) {
    view.shape.push_back(static_cast<std::int64_t>(size));
  }
  const auto offsets = unsigned_list(json_array(value, "data_offsets", where), where);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size()) {
    throw DataError(
        fmt::format("{}: data_offsets must be [begin, end] with begin <= end <= {}, got {}", where,
                    data.size(), printable(json_text(value.at("data_offsets")))));
  }
  const auto bytes = size_in_bytes(view.shape, view.type);
  if (!bytes.has_value() || *bytes != offsets[1] - offsets[0]) {
    throw DataError(fmt::format("{}: dtype {} and shape {} need {} bytes, data_offsets hold {}",
                                where, dtype, printable(json_text(value.at("shape"))),
                                bytes.has_value() ? std::to_string(*bytes) : "more than 2^63",
                                offsets[1] - offsets[0]));
  }
  if (value.size() != 3) {
    throw DataError(fmt::format("{}: expected exactly dtype, shape and data_offsets", where));
  }
  extent.begin = offsets[0];
  extent.end = offsets[1];
  view.bytes = data.subspan(offsets[0], offsets[1] - offsets[0]);
  return view;
}

}  // namespace

std::size_t bytes_per_element(ScalarType type) {
  return entry_of(type).bytes;
}
const char* scalar_type_name(ScalarType type) {
  return entry_of(type).name;
}

SafetensorsFile parse_safetensors(std::span<const std::byte> file, const std::string& name) {
  if (file.size() < 8) {
    throw DataError(fmt::format("{}: too short for a safetensors file: {}", name,
                                counted(std::ssize(file), "byte")));
  }
  const auto header_bytes = load<std::uint64_t>(file, 0);
  if (header_bytes > kMaxSafetensorsHeaderBytes || header_bytes > file.size() - 8) {
    throw DataError(
        fmt::format("{}: at byte 0: the header claims {} bytes; the file has {} after "
                    "the size and the limit is {}",
                    name, header_bytes, file.size() - 8, kMaxSafetensorsHeaderBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, header_bytes);
  const auto data = file.subspan(8 + header_bytes);
  const SortedJson header = parse_sorted_json(text, name + ": header");
  if (!header.is_object()) {
    throw DataError(fmt::format("{}: the header is no JSON object", name));
  }

  SafetensorsFile result;
  std::vector<Extent> extents;
  extents.reserve(header.size());
  for (const auto& [key, value] : header.items()) {
    const std::string where = fmt::format("{}: {}", name, printable(key));
    if (key == kMetadataKey) {
      if (!value.is_object()) throw DataError(fmt::format("{}: expected an object", where));
      for (const auto& [item, content] : value.items()) {
        if (!content.is_string()) {
          throw DataError(
              fmt::format("{}: '{}' is not text, expected a string", where, printable(item)));
        }
        result.metadata[item] = content.get<std::string>();
      }
      continue;
    }
    Extent extent;
    TensorView view = parse_tensor(value, data, where, extent);
    const auto inserted = result.tensor.emplace(key, std::move(view)).first;
    extent.tensor = &inserted->first;
    extents.push_back(extent);
  }

  // Sorted by place, the tensors must tile the data exactly.
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != covered) {
      throw DataError(fmt::format("{}: {}: begins at byte {} of the data, where {} ends at byte {}",
                                  name, printable(*extent.tensor), extent.begin,
                                  covered == 0 ? "the header" : "the tensor before it", covered));
    }
    covered = extent.end;
  }
  if (covered != data.size()) {
    throw DataError(
        fmt::format("{}: the tensors cover {} of {} data bytes", name, covered, data.size()));
  }
  return result;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path), tensors_(std::move(tensors)) {
  SortedJson header = SortedJson::object();
  if (!metadata.empty()) header[std::string(kMetadataKey)] = metadata;
  std::uint64_t offset = 0;
  for (const TensorInfo& tensor : tensors_) {
    SWITCHYARD_CHECK(!header.contains(tensor.name), "two tensors named {}", tensor.name);
    const auto bytes = size_in_bytes(tensor.shape, tensor.type);
    SWITCHYARD_CHECK(bytes.has_value(), "tensor {} is too large", tensor.name);
    header[tensor.name] = {{"dtype", scalar_type_name(tensor.type)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + *bytes}}};
    offset += *bytes;
  }
  std::string text = json_text(header);
  // Trailing spaces are part of the format.
  const std::size_t past = (8 + text.size()) % kDataAlignment;
  if (past != 0) text.append(kDataAlignment - past, ' ');
  write(bytes_of(static_cast<std::uint64_t>(text.size())));
  write(std::as_bytes(std::span(text)));
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  hash_.update(bytes);
  file_.write(bytes);
}

void SafetensorsWriter::append(const std::string& name, std::span<const std::byte> bytes) {
  SWITCHYARD_CHECK(next_ < tensors_.size() && tensors_[next_].name == name,
                   "tensor {} was delivered out of order", name);
  const TensorInfo& tensor = tensors_[next_];
  const std::uint64_t size = size_in_bytes(tensor.shape, tensor.type).value();
  SWITCHYARD_CHECK(bytes.size() <= size - delivered_bytes_,
                   "tensor {} of {} bytes came with {} after {}", name, size, bytes.size(),
                   delivered_bytes_);
  write(bytes);
  delivered_bytes_ += bytes.size();
  if (delivered_bytes_ < size) return;
  ++next_;
  delivered_bytes_ = 0;
}

FileDigest SafetensorsWriter::commit() {
  SWITCHYARD_CHECK(next_ == tensors_.size(), "{} of {} tensors were written", next_,
                   tensors_.size());
  file_.commit();
  return {.bytes = file_.bytes_written(), .xxh3 = to_hex(hash_.digest())};
}

}  // namespace switchyard::format
