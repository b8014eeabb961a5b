#include "switchyard/data/sample_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <system_error>
#include <utility>

#include "switchyard/config/blend_order.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/log.h"
#include "switchyard/core/philox.h"
#include "switchyard/core/text.h"

namespace switchyard::data {
namespace {

// Of the rule that turns an index into a window: a run that began under another rule must not
// resume under this one.
constexpr int kOrderVersion = 2;
constexpr int kBlendVersion = 2;
constexpr int kValidationVersion = 3;
constexpr std::uint32_t kShuffleStream = 0x73687566;  // keeps these draws apart from others
constexpr std::uint32_t kNumRounds = 8;
constexpr unsigned kMinHalfBits = 3;
constexpr unsigned kSetShift = 48;

// The last of the sets against those before it.
void refuse_or_warn_of_repeats(const std::vector<PreparedData>& sets, Split split) {
  const PreparedData& last = sets.back();
  std::error_code error;
  for (std::size_t i = 0; i + 1 < sets.size(); ++i) {
    if (std::filesystem::equivalent(sets[i].folder(), last.folder(), error)) {
      throw UsageError(fmt::format("data.blend: {} and {} are one folder",
                                   sets[i].folder().string(), last.folder().string()),
                       "name it once, with the sum of the weights");
    }
    if (split == Split::kTrain && sets[i].sidecar().train.hash == last.sidecar().train.hash) {
      log::warning("data.blend: {} and {} hold the same tokens", sets[i].folder().string(),
                   last.folder().string());
    }
  }
}

}  // namespace

Permutation::Permutation(std::int64_t size, std::uint64_t key)
    : size_(static_cast<std::uint64_t>(size)), key_(key), half_bits_(kMinHalfBits) {
  SWITCHYARD_CHECK(size > 0 && size <= std::int64_t{1} << 62, "a permutation of {} items", size);
  while (std::uint64_t{1} << (2 * half_bits_) < size_) ++half_bits_;
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (std::uint32_t round = 0; round < kNumRounds; ++round) {
    const auto word = philox(philox_key(key_), {static_cast<std::uint32_t>(right), round,
                                                kShuffleStream, half_bits_})[0];
    left = std::exchange(right, (left ^ word) & mask);
  }
  return left << half_bits_ | right;
}

std::int64_t Permutation::operator()(std::int64_t index) const {
  SWITCHYARD_CHECK(index >= 0 && static_cast<std::uint64_t>(index) < size_, "item {} of {}", index,
                   size_);
  auto value = static_cast<std::uint64_t>(index);
  // The network permutes all of its domain, so the walk comes back inside.
  do {
    value = encrypt(value);
  } while (value >= size_);
  return static_cast<std::int64_t>(value);
}

struct SampleSource::State {
  Split split = Split::kTrain;
  std::uint64_t seed = 0;
  std::int64_t sequence_length = 0;
  std::vector<PreparedData> set;
  std::vector<double> weight;
  std::vector<std::int64_t> num_windows;
  std::unique_ptr<config::BlendOrder> order;  // none: there is no window
  std::vector<std::size_t> ordered;           // the sets that `order` is of
};

SampleSource::SampleSource(std::unique_ptr<State> state) : state_(std::move(state)) {}
SampleSource::SampleSource(SampleSource&&) noexcept = default;
SampleSource& SampleSource::operator=(SampleSource&&) noexcept = default;
SampleSource::~SampleSource() = default;

std::unique_ptr<SampleSource::State> SampleSource::open(const config::DataConfig& config,
                                                        Split split) {
  auto state = std::make_unique<State>();
  state->split = split;
  state->sequence_length = config.sequence_length;
  if (config.sequence_length < 1) {
    throw UsageError(fmt::format("data.sequence_length is {}", config.sequence_length),
                     "it must be at least 1");
  }
  std::vector<config::BlendItem> items = config.blend;
  if (items.empty() && !config.path.empty()) items.push_back({config.path, 1.0});
  if (items.empty()) {
    throw UsageError("no training data is named",
                     "set data.path to a folder of `switchyard "
                     "prepare`, or data.blend to several");
  }
  for (const config::BlendItem& item : items) {
    if (!(item.weight > 0.0) || !std::isfinite(item.weight)) {
      throw UsageError(fmt::format("data.blend: the weight of {} is {}", item.path, item.weight),
                       "weights are positive numbers");
    }
    state->set.push_back(open_prepared(item.path));
    state->weight.push_back(item.weight);
    const PreparedData& data = state->set.back();
    const PreparedData& first = state->set.front();
    refuse_or_warn_of_repeats(state->set, split);
    if (data.tokenizer().hash() != first.tokenizer().hash()) {
      throw UsageError(
          fmt::format("{} and {} were prepared with different tokenizers", first.folder().string(),
                      data.folder().string()),
          fmt::format("prepare the second again with --tokenizer {}",
                      shell_path((first.folder() / first.tokenizer().file_name()).string())));
    }
    const std::int64_t num_tokens = data.dataset(split).num_tokens();
    state->num_windows.push_back(std::max<std::int64_t>(num_tokens - 1, 0) /
                                 config.sequence_length);
    if (split == Split::kTrain && state->num_windows.back() == 0) {
      throw DataError(fmt::format("{}/train.bin holds {} tokens, too few for one window of {} + 1",
                                  data.folder().string(), num_tokens, config.sequence_length),
                      "prepare more text, or lower data.sequence_length");
    }
  }
  return state;
}

SampleSource::SampleSource(const config::DataConfig& config, std::uint64_t seed)
    : state_(open(config, Split::kTrain)) {
  state_->seed = seed;
  state_->order = std::make_unique<config::BlendOrder>(state_->weight);
  state_->ordered.resize(state_->set.size());
  std::iota(state_->ordered.begin(), state_->ordered.end(), std::size_t{0});
}

// With their numbers of windows as weights the sets end together: what each has got after all of
// them is an integer, from which the order is less than one away at no node of its tree.
SampleSource SampleSource::validation(const config::DataConfig& config) {
  std::unique_ptr<State> state = open(config, Split::kValidation);
  std::vector<double> weights;
  for (std::size_t set = 0; set < state->set.size(); ++set) {
    if (state->num_windows[set] == 0) continue;
    weights.push_back(static_cast<double>(state->num_windows[set]));
    state->ordered.push_back(set);
  }
  if (!weights.empty()) state->order = std::make_unique<config::BlendOrder>(weights);
  return SampleSource(std::move(state));
}

std::int64_t SampleSource::num_samples_per_epoch() const {
  std::int64_t total = 0;
  for (const std::int64_t windows : state_->num_windows) total += windows;
  return total;
}

SampleSource::Window SampleSource::window_of(std::int64_t global_index) const {
  const bool is_validation = state_->split == Split::kValidation;
  SWITCHYARD_CHECK(global_index >= 0 && (!is_validation || global_index < num_samples_per_epoch()),
                   "sample {} of {}", global_index, num_samples_per_epoch());
  const auto [turn, index] = state_->order->at(global_index);
  const std::size_t set = state_->ordered[turn];
  if (is_validation) return {set, index * state_->sequence_length};
  const std::int64_t num_windows = state_->num_windows[set];
  const auto epoch = static_cast<std::uint64_t>(index / num_windows);
  // Each (seed, set, epoch) has its own order and its own places for the windows' borders.
  const PhiloxCounter words =
      philox(philox_key(state_->seed),
             {static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(epoch >> 32U),
              static_cast<std::uint32_t>(set), kShuffleStream});
  const Permutation order(num_windows, std::uint64_t{words[1]} << 32U | words[0]);
  const std::int64_t length = state_->sequence_length;
  const std::int64_t shift = epoch == 0 ? 0 : words[2] % length - length / 2;
  const std::int64_t last = state_->set[set].dataset(Split::kTrain).num_tokens() - 1 - length;
  return {set, std::clamp<std::int64_t>(order(index % num_windows) * length + shift, 0, last)};
}

std::uint64_t SampleSource::id_of(std::int64_t global_index) const {
  const Window window = window_of(global_index);
  return (static_cast<std::uint64_t>(window.set) << kSetShift) +
         static_cast<std::uint64_t>(window.begin);
}

Sample SampleSource::get(std::int64_t global_index) const {
  const Window window = window_of(global_index);
  const PreparedData& data = state_->set[window.set];
  const format::IndexedDataset& tokens = data.dataset(state_->split);
  const std::int64_t begin = window.begin;
  Sample sample;
  sample.token.resize(static_cast<std::size_t>(state_->sequence_length) + 1);
  data.read(state_->split, begin, sample.token);
  const std::int64_t end = begin + state_->sequence_length;  // of the last label
  for (std::int64_t document = tokens.document_of(begin);
       document < tokens.num_documents() && tokens.document_begin(document) <= end; ++document) {
    const std::int64_t offset = tokens.document_begin(document) - begin;
    const bool empty = tokens.document_begin(document + 1) == tokens.document_begin(document);
    if (offset >= 0 && !empty) sample.document_start.push_back(offset);
  }
  return sample;
}

const Tokenizer& SampleSource::tokenizer() const {
  return state_->set.front().tokenizer();
}
std::int64_t SampleSource::sequence_length() const {
  return state_->sequence_length;
}

std::vector<const PreparedData*> SampleSource::sets() const {
  std::vector<const PreparedData*> result;
  for (const PreparedData& data : state_->set) result.push_back(&data);
  return result;
}

std::vector<std::int64_t> SampleSource::num_windows_of_sets() const {
  return state_->num_windows;
}

std::string SampleSource::fingerprint() const {
  std::string text = fmt::format("order {} {} {} {} {}", kOrderVersion, split_name(state_->split),
                                 state_->seed, state_->sequence_length, tokenizer().hash());
  // One set has no turns to take: its order is what it was.
  if (state_->set.size() > 1) {
    const bool is_validation = state_->split == Split::kValidation;
    text += fmt::format(" blend {}", is_validation ? kValidationVersion : kBlendVersion);
  }
  for (std::size_t set = 0; set < state_->set.size(); ++set) {
    text += fmt::format(" {} {:a}", state_->set[set].sidecar().counts(state_->split).hash,
                        state_->weight[set]);
  }
  return to_hex(xxh3(text));
}

}  // namespace switchyard::data
