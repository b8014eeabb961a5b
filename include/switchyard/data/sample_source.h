// Training windows out of prepared data, as a pure function of (seed, index): any process can ask
// for any sample, and one number, the next index, resumes a run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/data/prepared_data.h"

namespace switchyard::data {

// A random order of 0..size-1 that is computed, not stored: a Feistel network on the next power of
// four, walked until it lands inside.
class Permutation {
 public:
  Permutation(std::int64_t size, std::uint64_t key);
  // The index-th element, 0 <= index < size.
  [[nodiscard]] std::int64_t operator()(std::int64_t index) const;

 private:
  [[nodiscard]] std::uint64_t encrypt(std::uint64_t value) const;
  std::uint64_t size_;
  std::uint64_t key_;
  unsigned half_bits_;
};

struct Sample {
  // S + 1 ids: inputs are the first S, labels the last S.
  std::vector<std::int32_t> token;
  // Ascending offsets in [0, S] where a document begins. A window that begins inside a document
  // does not list 0.
  std::vector<std::int64_t> document_start;
};

class SampleSource {
 public:
  // The training split of config.path, or of config.blend. Throws UsageError when neither is set,
  // a weight is not positive, two sets are one folder or have different tokenizers; DataError
  // naming the file when a set is broken or holds no window of sequence_length + 1 tokens.
  SampleSource(const config::DataConfig& config, std::uint64_t seed);
  // The validation split, each set in file order; may hold no sample. Blended sets take turns by
  // how many windows each holds, so that the first n samples are of all of them as the whole is.
  [[nodiscard]] static SampleSource validation(const config::DataConfig& config);

  SampleSource(SampleSource&&) noexcept;
  SampleSource& operator=(SampleSource&&) noexcept;
  ~SampleSource();

  // Windows in the data, of all blended sets together. In the first epoch, window i of a set covers
  // its tokens [i S, i S + S]. Each later epoch moves all borders by a random part of a window, so
  // that a text read many times is not always cut at the same places. Fewer than S tokens at either
  // end are left out of an epoch.
  [[nodiscard]] std::int64_t num_samples_per_epoch() const;
  // Samples are numbered without end: a set that is used up is shuffled anew. In a blend the sets
  // take turns (config/blend_order.h), so that no share ever drifts. The
  // validation split ends at num_samples_per_epoch().
  [[nodiscard]] Sample get(std::int64_t global_index) const;
  // Which window a sample is: (set << 48) + its first token. Equal ids are equal samples.
  [[nodiscard]] std::uint64_t id_of(std::int64_t global_index) const;

  [[nodiscard]] const Tokenizer& tokenizer() const;
  [[nodiscard]] std::int64_t sequence_length() const;
  [[nodiscard]] std::vector<const PreparedData*> sets() const;
  // Of sets(), in their order.
  [[nodiscard]] std::vector<std::int64_t> num_windows_of_sets() const;
  // Hash of everything that decides which sample an index is: a run that resumes compares it.
  [[nodiscard]] std::string fingerprint() const;

 private:
  struct State;
  explicit SampleSource(std::unique_ptr<State> state);
  [[nodiscard]] static std::unique_ptr<State> open(const config::DataConfig& config, Split split);
  struct Window {
    std::size_t set;
    std::int64_t begin;  // first token
  };
  [[nodiscard]] Window window_of(std::int64_t global_index) const;

  std::unique_ptr<State> state_;
};

}  // namespace switchyard::data
