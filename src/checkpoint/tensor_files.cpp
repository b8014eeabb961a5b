#include "switchyard/checkpoint/tensor_files.h"

#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <set>
#include <span>
#include <utility>

#include "checkpoint/piece_name.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::checkpoint {
namespace {

constexpr const char* kOtherModel = "the weights belong to a model of another shape";

// How files spell the types that are read; none for one that is not.
std::optional<at::ScalarType> readable_type(format::ScalarType type) {
  switch (type) {
    case format::ScalarType::kF32:
      return at::kFloat;
    case format::ScalarType::kF64:
      return at::kDouble;
    case format::ScalarType::kBF16:
      return at::kBFloat16;
    case format::ScalarType::kF16:
      return at::kHalf;
    default:
      return std::nullopt;
  }
}

ElementRange range_of(const TensorTarget& target) {
  return target.range.value_or(
      ElementRange{.begin = 0, .numel = c10::multiply_integers(target.shape)});
}

void check_target(const TensorTarget& target) {
  const at::Tensor& destination = target.destination;
  const ElementRange range = range_of(target);
  SWITCHYARD_CHECK(range.begin >= 0 && range.numel >= 0 &&
                       range.begin <= c10::multiply_integers(target.shape) - range.numel,
                   "elements {} + {} of {}, which has {}", range.begin, range.numel, target.name,
                   c10::multiply_integers(target.shape));
  SWITCHYARD_CHECK(destination.numel() == range.numel && destination.is_contiguous(),
                   "{} elements of {} go to a contiguous tensor of as many, not of {}", range.numel,
                   target.name, destination.numel());
  const at::ScalarType type = destination.scalar_type();
  SWITCHYARD_CHECK(type == at::kFloat || type == at::kDouble || type == at::kBFloat16,
                   "{} is read as fp32, fp64 or bf16, not as {}", target.name, at::toString(type));
}

std::string joined(const std::vector<std::string>& items, const char* separator) {
  constexpr std::size_t kShown = 5;
  const std::size_t num_shown = std::min(kShown, items.size());
  std::string text = join(std::span(items).first(num_shown), separator);
  if (num_shown < items.size()) text += fmt::format(" and {} more", items.size() - num_shown);
  return text;
}

std::vector<std::string> quoted(const std::vector<std::string>& names) {
  std::vector<std::string> result;
  for (const std::string& name : names) result.push_back(fmt::format("'{}'", printable(name)));
  return result;
}

[[noreturn]] void throw_differences(const std::string& source, const UnmatchedNames& names,
                                    const std::vector<std::string>& wrong_shapes) {
  std::vector<std::string> problems;
  if (const std::vector<std::string> missing = quoted(names.missing); missing.size() == 1) {
    problems.push_back(fmt::format("the tensor {} is missing", missing[0]));
  } else if (!missing.empty()) {
    problems.push_back(
        fmt::format("{} tensors are missing: {}", missing.size(), joined(missing, ", ")));
  }
  if (const std::vector<std::string> unknown = quoted(names.unknown); unknown.size() == 1) {
    problems.push_back(fmt::format("the model has no tensor {}", unknown[0]));
  } else if (!unknown.empty()) {
    problems.push_back(
        fmt::format("the model has none of {} tensors: {}", unknown.size(), joined(unknown, ", ")));
  }
  if (wrong_shapes.size() == 1) {
    problems.push_back(wrong_shapes[0]);
  } else if (!wrong_shapes.empty()) {
    problems.push_back(
        fmt::format("{} shapes differ: {}", wrong_shapes.size(), joined(wrong_shapes, ", ")));
  }
  throw DataError(fmt::format("{}: {}", source, join(problems, "; ")), kOtherModel);
}

}  // namespace

TensorFiles::TensorFiles(std::string source, const std::vector<std::filesystem::path>& files)
    : source_(std::move(source)), paths_(files) {
  for (const std::filesystem::path& path : paths_) {
    const std::size_t file_idx = mapped_.size();
    mapped_.emplace_back(path);
    format::SafetensorsFile parsed =
        format::parse_safetensors(mapped_.back().bytes(), path.string());
    mapped_.back().check_whole();
    for (auto& [name, view] : parsed.tensor) add(name, file_idx, std::move(view));
  }
  check_pieces();
}

void TensorFiles::add(const std::string& name, std::size_t file_idx, format::TensorView view) {
  const auto piece = parse_piece_name(name);
  const std::int64_t numel = c10::multiply_integers(view.shape);
  if (piece && piece->range.numel != numel) {
    throw DataError(
        fmt::format("{}: '{}' has {} elements", paths_[file_idx].string(), printable(name), numel),
        "the file was not written by switchyard, or is damaged");
  }
  const auto [place, is_new] = stored_.try_emplace(
      piece ? piece->name : name,
      Stored{.shape = piece ? std::vector<std::int64_t>{piece->total} : view.shape,
             .is_in_pieces = piece.has_value(),
             .pieces = {}});
  Stored& stored = place->second;
  if (!is_new && !(piece && stored.is_in_pieces && stored.shape[0] == piece->total)) {
    throw DataError(fmt::format("{}: the tensor '{}' is in {} already", paths_[file_idx].string(),
                                printable(name), paths_[stored.pieces.front().file_idx].string()),
                    "files that belong together hold every tensor once");
  }
  const ElementRange range = piece ? piece->range : ElementRange{.begin = 0, .numel = numel};
  stored.pieces.push_back({.file_idx = file_idx, .view = std::move(view), .range = range});
}

void TensorFiles::check_pieces() {
  for (auto& [name, stored] : stored_) {
    if (!stored.is_in_pieces) continue;
    std::sort(stored.pieces.begin(), stored.pieces.end(),
              [](const Piece& a, const Piece& b) { return a.range.begin < b.range.begin; });
    std::int64_t end = 0;
    for (const Piece& piece : stored.pieces) {
      if (piece.range.begin != end || piece.view.type != stored.type()) {
        throw DataError(fmt::format("{}: the pieces of '{}' do not fit at element {}",
                                    paths_[piece.file_idx].string(), printable(name), end),
                        "the files of several ranks belong to different checkpoints, or one is "
                        "missing");
      }
      end += piece.range.numel;
    }
    if (end != stored.shape[0]) {
      throw DataError(fmt::format("{}: of '{}' there are {} elements of {}", source_,
                                  printable(name), end, stored.shape[0]),
                      "a file of one of the ranks is missing");
    }
  }
}

bool TensorFiles::Stored::has_shape(const std::vector<std::int64_t>& wanted) const {
  return is_in_pieces ? c10::multiply_integers(wanted) == shape[0] : wanted == shape;
}

std::vector<format::TensorInfo> TensorFiles::tensors() const {
  std::vector<format::TensorInfo> infos;
  infos.reserve(stored_.size());
  for (const auto& [name, stored] : stored_) {
    infos.push_back({.name = name, .type = stored.type(), .shape = stored.shape});
  }
  return infos;
}

void TensorFiles::read_exactly(const std::vector<TensorTarget>& targets,
                               const std::function<bool(const std::string&)>& is_elsewhere) const {
  UnmatchedNames names = unmatched(targets);
  if (is_elsewhere) std::erase_if(names.unknown, is_elsewhere);
  const std::vector<std::string> shapes = wrong_shapes(targets);
  if (!names.missing.empty() || !names.unknown.empty() || !shapes.empty()) {
    throw_differences(source_, names, shapes);
  }
  fill(targets);
}

UnmatchedNames TensorFiles::read_subset(const std::vector<TensorTarget>& targets) const {
  const std::vector<std::string> shapes = wrong_shapes(targets);
  if (!shapes.empty()) throw_differences(source_, {}, shapes);
  fill(targets);
  return unmatched(targets);
}

std::map<std::string, at::Tensor> TensorFiles::copies() const {
  std::map<std::string, at::Tensor> tensors;
  std::vector<TensorTarget> targets;
  for (const auto& [name, stored] : stored_) {
    check_type(name);
    const at::ScalarType type = readable_type(stored.type()).value();
    const at::Tensor tensor =
        at::empty(stored.shape, at::TensorOptions().dtype(type == at::kHalf ? at::kFloat : type));
    tensors.emplace(name, tensor);
    targets.push_back({.name = name, .shape = stored.shape, .destination = tensor});
  }
  fill(targets);
  return tensors;
}

UnmatchedNames TensorFiles::unmatched(const std::vector<TensorTarget>& targets) const {
  std::set<std::string> wanted;
  for (const TensorTarget& target : targets) wanted.insert(target.name);
  UnmatchedNames names;
  for (const std::string& name : wanted) {
    if (!stored_.contains(name)) names.missing.push_back(name);
  }
  for (const auto& [name, stored] : stored_) {
    if (!wanted.contains(name)) names.unknown.push_back(name);
  }
  return names;
}

std::vector<std::string> TensorFiles::wrong_shapes(const std::vector<TensorTarget>& targets) const {
  std::set<std::string> problems;  // a tensor may go to several places
  for (const TensorTarget& target : targets) {
    const auto found = stored_.find(target.name);
    if (found == stored_.end() || found->second.has_shape(target.shape)) continue;
    problems.insert(fmt::format("'{}' has the shape [{}], expected [{}]", printable(target.name),
                                printable(fmt::format("{}", fmt::join(found->second.shape, ", "))),
                                fmt::join(target.shape, ", ")));
  }
  return {problems.begin(), problems.end()};
}

void TensorFiles::check_type(const std::string& name) const {
  const Stored& stored = stored_.at(name);
  if (readable_type(stored.type()).has_value()) return;
  throw DataError(fmt::format("{}: tensor '{}' is {}, expected F32, F64, BF16 or F16",
                              paths_[stored.pieces.front().file_idx].string(), printable(name),
                              format::scalar_type_name(stored.type())));
}

void TensorFiles::fill(const std::vector<TensorTarget>& targets) const {
  for (const TensorTarget& target : targets) {
    check_target(target);
    if (stored_.contains(target.name)) check_type(target.name);
  }
  at::Tensor staging;
  for (const TensorTarget& target : targets) {
    const auto found = stored_.find(target.name);
    if (found == stored_.end()) continue;
    const ElementRange wanted = range_of(target);
    const at::Tensor flat = target.destination.detach().view({-1});
    for (const Piece& piece : found->second.pieces) {
      const std::int64_t begin = std::max(wanted.begin, piece.range.begin);
      const std::int64_t end =
          std::min(wanted.begin + wanted.numel, piece.range.begin + piece.range.numel);
      if (begin >= end) continue;
      copy(piece, {.begin = begin, .numel = end - begin},
           flat.narrow(0, begin - wanted.begin, end - begin), staging);
    }
  }
}

void TensorFiles::copy(const Piece& piece, ElementRange range, const at::Tensor& flat,
                       at::Tensor& staging) const {
  const at::ScalarType type = readable_type(piece.view.type).value();
  const std::size_t element_bytes = format::bytes_per_element(piece.view.type);
  const auto bytes = piece.view.bytes.subspan(
      static_cast<std::size_t>(range.begin - piece.range.begin) * element_bytes,
      static_cast<std::size_t>(range.numel) * element_bytes);
  const bool as_stored = flat.is_cpu() && flat.scalar_type() == type;
  if (!as_stored && !staging.defined()) {
    staging =
        at::empty({static_cast<std::int64_t>(kStagingBytes)}, at::TensorOptions().dtype(at::kByte));
  }
  for (std::size_t done = 0; done < bytes.size(); done += kStagingBytes) {
    const auto part = bytes.subspan(done, std::min(kStagingBytes, bytes.size() - done));
    if (as_stored) {
      std::memcpy(static_cast<std::byte*>(flat.mutable_data_ptr()) + done, part.data(),
                  part.size());
    } else {
      // Tensors of files need not be aligned to their elements.
      std::memcpy(staging.mutable_data_ptr(), part.data(), part.size());
      const auto count = static_cast<std::int64_t>(part.size() / element_bytes);
      flat.narrow(0, static_cast<std::int64_t>(done / element_bytes), count)
          .copy_(staging.view(type).narrow(0, 0, count));
    }
    mapped_[piece.file_idx].release(part);
  }
  mapped_[piece.file_idx].check_whole();
}

}  // namespace switchyard::checkpoint
