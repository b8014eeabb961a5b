// The slow, obvious attention: explicit probabilities for one packed batch of small sequences.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "switchyard/core/philox.h"
#include "switchyard/kernels/attention.h"
#include "switchyard/kernels/initialize.h"

namespace switchyard::kernels {

// One case: what a kernel is given, as owned arrays in double.
struct AttentionCase {
  std::string name;
  std::vector<std::int64_t> query_offset;
  std::vector<KeySpan> key_span;
  std::int64_t num_key_rows = 0;
  std::int64_t num_heads = 2;
  std::int64_t num_groups = 1;
  std::int64_t head_dim = 5;
  bool causal = true;
  std::vector<bool> valid = {};  // by key row; empty: all

  [[nodiscard]] std::int64_t num_queries() const { return query_offset.back(); }
  [[nodiscard]] std::int64_t sequence_of(std::int64_t query) const {
    std::int64_t b = 0;
    while (query >= query_offset[static_cast<std::size_t>(b) + 1]) ++b;
    return b;
  }
  // The key row of the query's own token.
  [[nodiscard]] std::int64_t own_key(std::int64_t query) const {
    const auto b = static_cast<std::size_t>(sequence_of(query));
    return key_span[b].end - (query_offset[b + 1] - query);
  }
  [[nodiscard]] bool is_valid(std::int64_t key) const {
    return valid.empty() || valid[static_cast<std::size_t>(key)];
  }
  [[nodiscard]] bool sees(std::int64_t query, std::int64_t key) const {
    const KeySpan span = key_span[static_cast<std::size_t>(sequence_of(query))];
    return key >= span.begin && key < span.end && is_valid(key) &&
           (!causal || key <= own_key(query));
  }
};

inline std::vector<AttentionCase> attention_cases() {
  std::vector<AttentionCase> cases;
  const auto packed = [](std::string name, std::vector<std::int64_t> offset) {
    AttentionCase c{.name = std::move(name), .query_offset = std::move(offset), .key_span = {}};
    for (std::size_t b = 0; b + 1 < c.query_offset.size(); ++b) {
      c.key_span.push_back({c.query_offset[b], c.query_offset[b + 1]});
    }
    c.num_key_rows = c.query_offset.back();
    return c;
  };
  cases.push_back(packed("one token", {0, 1}));
  cases.push_back(packed("no token", {0, 0}));
  cases.push_back(packed("unequal sequences, one empty", {0, 3, 3, 20, 27}));
  // Longer than a tile of queries and two tiles of keys, lengths that fill no vector.
  cases.push_back(packed("long", {0, 301, 390}));
  cases.back().head_dim = 20;
  cases.push_back(packed("longer than a chunk of queries", {0, 401}));
  cases.back().num_heads = 1;
  cases.push_back(packed("grouped heads", {0, 60, 101}));
  cases.back().num_heads = 6;
  cases.back().num_groups = 2;
  cases.push_back(packed("padding left, right and inside", {0, 40, 80, 120}));
  cases.back().valid.assign(120, true);
  for (const std::size_t i : {0, 1, 2, 50, 51, 117, 118, 119}) cases.back().valid[i] = false;
  cases.push_back({.name = "cached keys",
                   .query_offset = {0, 1, 4},
                   .key_span = {{5, 18}, {30, 33}},
                   .num_key_rows = 40});
  cases.push_back({.name = "many cached keys",
                   .query_offset = {0, 50},
                   .key_span = {{2, 300}},
                   .num_key_rows = 310});
  const std::size_t num_causal = cases.size();
  for (std::size_t i = 0; i < num_causal; ++i) {
    cases.push_back(cases[i]);
    cases.back().name += ", bidirectional";
    cases.back().causal = false;
  }
  return cases;
}

inline std::vector<double> random_rows(std::int64_t count, std::uint64_t seed) {
  std::vector<double> values(static_cast<std::size_t>(count));
  cpu::initialize_normal(InitializeNormalParams<double>{
      .out = values.data(), .count = count, .key = philox_key(seed), .tensor = 5, .std = 1.0});
  return values;
}

// probability[head][query][key row], and the log-sum-exp.
struct AttentionReference {
  std::vector<double> q, k, v;  // [T, A, D], [rows, G, D]
  std::vector<double> probability;
  std::vector<double> lse;  // [A, T]
  double scale = 0.7;

  explicit AttentionReference(const AttentionCase& c)
      : q(random_rows(c.num_queries() * c.num_heads * c.head_dim, 1)),
        k(random_rows(c.num_key_rows * c.num_groups * c.head_dim, 2)),
        v(random_rows(c.num_key_rows * c.num_groups * c.head_dim, 3)) {
    for (std::int64_t head = 0; head < c.num_heads; ++head) {
      for (std::int64_t query = 0; query < c.num_queries(); ++query) add_row(c, head, query);
    }
  }

 private:
  void add_row(const AttentionCase& c, std::int64_t head, std::int64_t query) {
    const std::int64_t group = head / (c.num_heads / c.num_groups);
    std::vector<double> row(static_cast<std::size_t>(c.num_key_rows), 0.0);
    double sum = 0.0;
    for (std::int64_t key = 0; key < c.num_key_rows; ++key) {
      if (!c.sees(query, key)) continue;
      double dot = 0.0;
      for (std::int64_t d = 0; d < c.head_dim; ++d) {
        dot += q[static_cast<std::size_t>((query * c.num_heads + head) * c.head_dim + d)] *
               k[static_cast<std::size_t>((key * c.num_groups + group) * c.head_dim + d)];
      }
      row[static_cast<std::size_t>(key)] = std::exp(scale * dot);
      sum += row[static_cast<std::size_t>(key)];
    }
    for (double& value : row) value = sum == 0.0 ? 0.0 : value / sum;
    probability.insert(probability.end(), row.begin(), row.end());
    lse.push_back(sum == 0.0 ? 0.0 : std::log(sum));
  }
};

// Copies with room around them: what lies outside must not change.
template <typename T>
struct Guarded {
  static constexpr std::size_t kBand = 64;
  std::vector<T> memory;

  explicit Guarded(std::int64_t count, double fill = std::numeric_limits<double>::quiet_NaN())
      : memory(static_cast<std::size_t>(count) + 2 * kBand, store<T>(fill)) {
    for (std::size_t i = 0; i < kBand; ++i) {
      memory[i] = store<T>(77.0);
      memory[memory.size() - 1 - i] = store<T>(77.0);
    }
  }
  [[nodiscard]] T* data() { return memory.data() + kBand; }
  [[nodiscard]] double operator[](std::int64_t i) const {
    return static_cast<double>(load(memory[kBand + static_cast<std::size_t>(i)]));
  }
  [[nodiscard]] bool bands_are_intact() const {
    for (std::size_t i = 0; i < kBand; ++i) {
      if (load(memory[i]) != 77 || load(memory[memory.size() - 1 - i]) != 77) return false;
    }
    return true;
  }
};

template <typename T>
std::vector<T> rounded(const std::vector<double>& values) {
  std::vector<T> out;
  out.reserve(values.size());
  for (const double value : values) out.push_back(store<T>(value));
  return out;
}

// Owns the inputs of one case in a storage type and describes them to a kernel.
template <typename T>
struct AttentionInputs {
  std::vector<T> q, k, v;
  std::vector<std::int64_t> query_offset;
  std::vector<KeySpan> key_span;
  std::unique_ptr<bool[]> valid;
  AttentionShape<T> shape;
  HeadRows<const T> v_rows;

  AttentionInputs(const AttentionCase& c, const AttentionReference& reference)
      : q(rounded<T>(reference.q)),
        k(rounded<T>(reference.k)),
        v(rounded<T>(reference.v)),
        query_offset(c.query_offset),
        key_span(c.key_span) {
    if (!c.valid.empty()) {
      valid = std::make_unique<bool[]>(c.valid.size());
      for (std::size_t i = 0; i < c.valid.size(); ++i) valid[i] = c.valid[i];
    }
    const std::int64_t key_stride = c.num_groups * c.head_dim;
    shape = {.q = {q.data(), c.num_heads * c.head_dim, c.head_dim},
             .k = {k.data(), key_stride, c.head_dim},
             .num_queries = c.num_queries(),
             .num_heads = c.num_heads,
             .num_groups = c.num_groups,
             .head_dim = c.head_dim,
             .num_sequences = std::ssize(c.key_span),
             .query_offset_B1 = query_offset.data(),
             .key_span_B = key_span.data(),
             .key_valid = valid.get(),
             .causal = c.causal,
             .scale = reference.scale};
    v_rows = {v.data(), key_stride, c.head_dim};
  }
};

}  // namespace switchyard::kernels
