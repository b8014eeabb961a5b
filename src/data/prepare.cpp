#include "switchyard/data/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <deque>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "data/document_split.h"
#include "data/output_folder.h"
#include "data/source_files.h"
#include "data/tokenizer_model.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/log.h"
#include "switchyard/core/parallel.h"
#include "switchyard/core/philox.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBatchBytes = std::size_t{8} << 20;
constexpr std::size_t kSampledChunkBytes = std::size_t{1} << 16;
constexpr std::int64_t kProgressBytes = std::int64_t{16} << 20;  // below: done at once
constexpr std::uint32_t kTrainingStream = 0x746F6B65;
constexpr std::int64_t kSampleTokens = 48;

void check_options(const PrepareOptions& options) {
  const auto one_of = [](const std::string& value, std::initializer_list<const char*> known) {
    return std::find(known.begin(), known.end(), value) != known.end();
  };
  if (options.inputs.empty()) throw UsageError("--input: give at least one file or folder");
  const double share = options.validation.value_or(0.0);
  if (!(share >= 0.0 && share < 1.0)) {
    throw UsageError(fmt::format("--validation {}: expected a share from 0 to below 1", share));
  }
  if (!one_of(options.split, {"auto", "document", "tail"})) {
    throw UsageError(fmt::format("--split {}: expected auto, document or tail", options.split));
  }
  if (!one_of(options.format, {"auto", "text", "jsonl"})) {
    throw UsageError(fmt::format("--format {}: expected auto, text or jsonl", options.format));
  }
}

DocumentSplit::Parts parts_of(const SourceFiles::Document& document, const DocumentSplit& split) {
  if (document.source.validation) return {{}, document.text};
  return split.split(document.index, document.text);
}

// How much of a large corpus a tokenizer is trained on.
std::int64_t max_training_bytes(const TokenizerSpec& spec) {
  return std::int64_t{spec.kind == TokenizerSpec::Kind::kBpe ? 64 : 16} << 20;
}

// Chunks of the training text, spread evenly when there is more than the trainer should see.
std::vector<std::string> training_texts(const SourceFiles& sources, const DocumentSplit& split,
                                        std::int64_t max_bytes, std::int64_t& num_bytes) {
  const double keep = static_cast<double>(max_bytes) /
                      static_cast<double>(std::max<std::int64_t>(sources.num_bytes(), 1));
  std::vector<std::string> texts;
  std::uint32_t chunk = 0;
  sources.for_each_document([&](const SourceFiles::Document& document) {
    const std::string_view train = parts_of(document, split).train;
    if (keep >= 1.0) {
      if (!train.empty()) texts.emplace_back(train);
      return;
    }
    for (std::size_t at = 0; at < train.size(); at += kSampledChunkBytes) {
      const auto word = philox({0, 0}, {chunk++, 0, kTrainingStream, 0})[0];
      if (static_cast<double>(word) * 0x1.0p-32 >= keep) continue;
      const std::size_t begin = floor_character_boundary(train, at);
      const std::size_t end = floor_character_boundary(train, at + kSampledChunkBytes);
      texts.emplace_back(train.substr(begin, end - begin));
    }
  });
  num_bytes = 0;
  for (const std::string& text : texts) num_bytes += static_cast<std::int64_t>(text.size());
  return texts;
}

Tokenizer make_tokenizer(const TokenizerSpec& spec, const SourceFiles& sources,
                         const DocumentSplit& split, std::vector<std::string>& notes) {
  switch (spec.kind) {
    case TokenizerSpec::Kind::kBytes:
      return Tokenizer::byte_level();
    case TokenizerSpec::Kind::kFile:
      return Tokenizer::load(spec.path);
    default:
      break;
  }
  std::int64_t num_bytes = 0;
  const auto texts = training_texts(sources, split, max_training_bytes(spec), num_bytes);
  log::info("training a tokenizer of {} pieces on {} bytes of text", spec.vocab_size,
            format_count(static_cast<double>(num_bytes)));
  const Activity activity("training the tokenizer");
  Tokenizer tokenizer = train_tokenizer(spec, texts);
  if (tokenizer.vocab_size() < spec.vocab_size) {
    notes.push_back(fmt::format("the text gave {} pieces, fewer than the {} asked for",
                                tokenizer.vocab_size(), spec.vocab_size));
  }
  return tokenizer;
}

// Collects parts of documents, encodes them together, and writes them.
class SplitEncoder {
 public:
  // `progress` hears how many bytes of text were encoded since it was called last.
  SplitEncoder(const fs::path& folder, Split split, const Tokenizer& tokenizer,
               std::function<void(std::size_t num_bytes)> progress)
      : tokenizer_(tokenizer),
        progress_(std::move(progress)),
        data_path_(folder / fmt::format("{}.bin", split_name(split))),
        writer_(folder / fmt::format("{}.idx", split_name(split)), data_path_,
                format::token_type_for(tokenizer.vocab_size())) {}

  // `text` need not outlive the call.
  void add(std::string_view text) {
    if (text.empty()) return;
    if (text.size() >= kBatchBytes) {
      flush();
      add_large(text);
      return;
    }
    batch_.push_back(copies_.emplace_back(text));
    batch_bytes_ += text.size();
    if (batch_bytes_ >= kBatchBytes) flush();
  }
  void finish() {
    flush();
    counts_.tokens = writer_.num_tokens();
    counts_.documents = writer_.num_documents();
    writer_.commit();
    counts_.hash = xxh3_of_file(data_path_);
  }
  [[nodiscard]] const SplitCounts& counts() const { return counts_; }
  [[nodiscard]] bool same_again() const { return same_again_; }

 private:
  // A document may be larger than the memory: a book is not, but a dump in one file may be.
  void add_large(std::string_view text) {
    std::optional<std::int32_t> previous;
    tokenizer_.encode_in_parts(text, [&](std::string_view part, std::span<const std::int32_t> ids) {
      same_again_ = same_again_ && gives_back(ids, previous, part);
      writer_.append(ids);
      if (!ids.empty()) previous = ids.back();
      counts_.bytes += static_cast<std::int64_t>(part.size());
      progress_(part.size());
    });
    end_document();
  }
  void end_document() {
    if (const auto separator = tokenizer_.separator_id()) {
      writer_.append(std::span(&*separator, 1));
    }
    writer_.end_document();
  }
  // Whether `ids`, behind the id `previous`, decode to `text`.
  [[nodiscard]] bool gives_back(std::span<const std::int32_t> ids,
                                std::optional<std::int32_t> previous, std::string_view text) const {
    for (const std::int32_t id : ids) {
      const std::string_view bytes = tokenizer_.bytes_of(id, previous);
      if (!text.starts_with(bytes)) return false;
      text.remove_prefix(bytes.size());
      previous = id;
    }
    return text.empty();
  }
  void flush() {
    const auto ids = tokenizer_.encode_batch(batch_);
    std::atomic<bool> same{true};
    parallel_for(
        static_cast<std::int64_t>(batch_.size()), 16, [&](std::int64_t begin, std::int64_t end) {
          for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
            if (!gives_back(ids[i], std::nullopt, batch_[i])) same = false;
          }
        });
    same_again_ = same_again_ && same;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      writer_.append(ids[i]);
      end_document();
    }
    counts_.bytes += static_cast<std::int64_t>(batch_bytes_);
    progress_(batch_bytes_);
    batch_.clear();
    copies_.clear();
    batch_bytes_ = 0;
  }

  const Tokenizer& tokenizer_;
  std::function<void(std::size_t num_bytes)> progress_;
  fs::path data_path_;
  format::IndexedDatasetWriter writer_;
  SplitCounts counts_;
  std::vector<std::string_view> batch_;
  std::deque<std::string> copies_;  // addresses stay
  std::size_t batch_bytes_ = 0;
  bool same_again_ = true;
};

// The share of the bytes of the inputs that was held back.
double encode_all(const SourceFiles& sources, const DocumentSplit& split, SplitEncoder& train,
                  SplitEncoder& validation) {
  double total = 0.0;
  double held_back = 0.0;
  sources.for_each_document([&](const SourceFiles::Document& document) {
    const DocumentSplit::Parts parts = parts_of(document, split);
    train.add(parts.train);
    validation.add(parts.validation);
    if (document.source.validation) return;
    total += static_cast<double>(document.text.size());
    held_back += static_cast<double>(parts.validation.size());
  });
  train.finish();
  validation.finish();
  return total > 0.0 ? held_back / total : 0.0;
}

std::vector<std::string> samples_of(const PreparedData& data, std::int64_t num_samples) {
  const format::IndexedDataset& train = data.dataset(Split::kTrain);
  const std::int64_t size = std::min(kSampleTokens, train.num_tokens());
  std::vector<std::string> samples;
  for (std::int64_t i = 0; i < num_samples && size > 0; ++i) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(size));
    const double place = (static_cast<double>(i) + 0.5) / static_cast<double>(num_samples);
    const auto begin =
        static_cast<std::int64_t>(place * static_cast<double>(train.num_tokens() - size));
    data.read(Split::kTrain, begin, ids);
    if (data.tokenizer().kind() == "bytes") {
      samples.push_back(shown_piece(data.tokenizer().decode(ids)));
      continue;
    }
    std::string sample;
    for (const std::int32_t id : ids) sample += "|" + data.tokenizer().piece(id);
    samples.push_back(sample.substr(1));
  }
  return samples;
}

// A data set of a million files does not name them all: the rest is one record.
std::vector<SourceRecord> source_records(const SourceFiles& sources) {
  constexpr std::size_t kMostRecords = 10000;
  std::vector<SourceRecord> records;
  SourceRecord rest;
  std::string hashes;
  for (const SourceFile& source : sources.files()) {
    if (records.size() < kMostRecords) {
      records.push_back({source.name, source.bytes, source.hash, source.num_documents,
                         source.validation, source.num_skipped});
      continue;
    }
    hashes += source.hash;
    rest.bytes += source.bytes;
    rest.documents += source.num_documents;
    rest.skipped += source.num_skipped;
  }
  if (!hashes.empty()) {
    rest.path = fmt::format("({} more files)", sources.files().size() - kMostRecords);
    rest.hash = to_hex(xxh3(hashes));
    records.push_back(rest);
  }
  return records;
}

void say_what_was_skipped(const SourceFiles& sources, PrepareReport& report) {
  report.num_skipped = sources.num_skipped();
  if (report.num_skipped == 0) return;
  const std::int64_t num_records = report.num_skipped + sources.num_documents();
  report.notes.push_back(fmt::format("skipped {} of {} records; the first: {}", report.num_skipped,
                                     num_records, sources.why_first_skipped()));
  if (report.num_skipped * 10 > num_records) {
    report.warnings.push_back(fmt::format(
        "{:.0f} % of the records were skipped: is --text-field right?",
        100.0 * static_cast<double>(report.num_skipped) / static_cast<double>(num_records)));
  }
}

void warn_of_another_share(double share, const DocumentSplit& split, PrepareReport& report) {
  if (std::abs(report.held_back - share) <= 0.1 * share) return;
  const bool by_document = std::string_view(split.kind()) == "document";
  report.warnings.push_back(
      fmt::format("{:.3g} % of the text is held back, not the {:.3g} % asked for: {}",
                  100.0 * report.held_back, 100.0 * share,
                  by_document ? "whole documents come no nearer; --split tail cuts inside them"
                              : "the ends of such short documents come no nearer; --split "
                                "document takes whole ones"));
}

}  // namespace

PrepareReport prepare(const PrepareOptions& options) {
  check_options(options);
  const TokenizerSpec spec = parse_tokenizer_spec(options.tokenizer);
  OutputFolder output(options.output, options.overwrite);
  PrepareReport report;

  const fs::path spool_folder = output.temporary() / "spool";
  fs::create_directory(spool_folder);
  const SourceFiles sources(options, spool_folder);
  for (const SourceFile& source : sources.files()) {
    if (!output.replaces(source.canonical)) continue;
    throw UsageError(
        fmt::format("--input: {} is part of the data set that --overwrite replaces", source.name),
        "write to another folder");
  }
  report.notes = sources.notes();
  // Of what may be training text.
  if (sources.document_bytes().empty()) {
    throw DataError(
        "the input holds no text",
        sources.num_skipped() == 0
            ? "check the --input files"
            : fmt::format("skipped: {}, the first: {}", counted(sources.num_skipped(), "record"),
                          sources.why_first_skipped()));
  }
  say_what_was_skipped(sources, report);

  const double share = options.validation.value_or(options.validation_inputs.empty() ? 0.05 : 0.0);
  const DocumentSplit split(options.split, share, options.seed, sources.document_bytes());
  const Tokenizer tokenizer = make_tokenizer(spec, sources, split, report.notes);
  write_file_atomically(output.temporary() / tokenizer.file_name(), tokenizer.serialized());

  std::optional<ProgressBar> bar;
  if (sources.num_bytes() >= kProgressBytes) {
    bar.emplace("encoding", static_cast<std::uint64_t>(sources.num_bytes()));
  }
  std::uint64_t num_encoded = 0;
  const auto progress = [&](std::size_t num_bytes) {
    num_encoded += num_bytes;
    if (bar.has_value()) bar->advance_to(num_encoded);
  };
  SplitEncoder train(output.temporary(), Split::kTrain, tokenizer, progress);
  SplitEncoder validation(output.temporary(), Split::kValidation, tokenizer, progress);
  report.held_back = encode_all(sources, split, train, validation);
  warn_of_another_share(share, split, report);
  if (bar.has_value()) bar->finish();

  Sidecar& sidecar = report.sidecar;
  sidecar.tokenizer_file = tokenizer.file_name();
  sidecar.tokenizer_hash = tokenizer.hash();
  sidecar.tokenizer_kind = tokenizer.kind();
  sidecar.vocab_size = tokenizer.vocab_size();
  sidecar.separator_id = tokenizer.separator_id();
  sidecar.lossless = train.same_again() && validation.same_again();
  sidecar.split = split.kind();
  sidecar.validation_share = share;
  sidecar.seed = options.seed;
  sidecar.train = train.counts();
  sidecar.validation = validation.counts();
  sidecar.sources = source_records(sources);
  SWITCHYARD_CHECK(sidecar.lossless || !tokenizer.lossless(),
                   "a document came back changed from a lossless tokenizer");
  if (!sidecar.lossless) {
    report.notes.push_back(
        "this tokenizer does not give the text back exactly: bits per byte would not be "
        "comparable, "
        "and runs on it have none");
  }
  if (!sidecar.separator_id.has_value()) {
    report.notes.push_back("the tokenizer has no end piece: documents follow without a separator");
  }

  fs::remove_all(spool_folder);
  write_file_atomically(output.temporary() / kSidecarName, write_sidecar(sidecar));
  output.publish();

  // What was written is opened as training will open it.
  const PreparedData data = open_prepared(options.output);
  report.samples = samples_of(data, options.num_samples);
  const std::int64_t separators =
      sidecar.separator_id.has_value() ? sidecar.train.documents + sidecar.validation.documents : 0;
  const std::int64_t tokens = sidecar.train.tokens + sidecar.validation.tokens - separators;
  report.bytes_per_token = static_cast<double>(sidecar.train.bytes + sidecar.validation.bytes) /
                           static_cast<double>(std::max<std::int64_t>(tokens, 1));
  return report;
}

}  // namespace switchyard::data
