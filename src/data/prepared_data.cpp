#include "switchyard/data/prepared_data.h"

#include <fmt/format.h>

#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/core/version.h"
#include "switchyard/format/json.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;
using format::Json;

constexpr const char* kFormatName = "switchyard-data";
constexpr std::int64_t kFormatVersion = 1;
constexpr const char* kPrepareHint = "write the folder again with `switchyard prepare`";

Json counts_to_json(const SplitCounts& counts) {
  return {{"documents", counts.documents},
          {"tokens", counts.tokens},
          {"bytes", counts.bytes},
          {"bin_xxh3", counts.hash}};
}

std::int64_t count(const Json& object, const char* key, const std::string& name) {
  const std::int64_t value = format::json_integer(object, key, name);
  if (value < 0) throw DataError(fmt::format("{}: '{}' is {}", name, key, value), kPrepareHint);
  return value;
}

SplitCounts counts_from_json(const Json& object, const std::string& name) {
  return {count(object, "documents", name), count(object, "tokens", name),
          count(object, "bytes", name), format::json_string(object, "bin_xxh3", name)};
}

// What tells whether a data set is being replaced, or has been.
struct Moment {
  bool is_replacement = false;  // not all of its files have their places yet
  std::string sidecar = {};     // data.json; empty when it could not be read

  bool operator==(const Moment&) const = default;
};

Moment moment_of(const fs::path& folder) {
  std::error_code error;
  const fs::path path = config::data_set_file(folder, kSidecarName);
  Moment moment{.is_replacement = path.parent_path() != folder};
  try {
    if (fs::exists(path, error)) moment.sidecar = read_file(path);
  } catch (const StorageError&) {  // moved in between
  }
  return moment;
}

// The message of a broken file, with what to do about it.
DataError with_hint(const DataError& error) {
  return DataError(error.what(), error.hint().empty() ? kPrepareHint : error.hint());
}

}  // namespace

const char* split_name(Split split) {
  return split == Split::kTrain ? "train" : "validation";
}

std::string write_sidecar(const Sidecar& sidecar) {
  Json sources = Json::array();
  for (const SourceRecord& source : sidecar.sources) {
    sources.push_back({{"path", source.path},
                       {"bytes", source.bytes},
                       {"xxh3", source.hash},
                       {"documents", source.documents},
                       {"validation", source.validation},
                       {"skipped", source.skipped}});
  }
  Json tokenizer = {{"file", sidecar.tokenizer_file},
                    {"kind", sidecar.tokenizer_kind},
                    {"xxh3", sidecar.tokenizer_hash},
                    {"vocab_size", sidecar.vocab_size}};
  tokenizer["separator_id"] =
      sidecar.separator_id.has_value() ? Json(*sidecar.separator_id) : Json(nullptr);
  const Json json = {{"format", kFormatName},
                     {"version", kFormatVersion},
                     {"written_by", fmt::format("switchyard {}", kVersion)},
                     {"tokenizer", std::move(tokenizer)},
                     {"lossless", sidecar.lossless},
                     {"split",
                      {{"kind", sidecar.split},
                       {"validation_share", sidecar.validation_share},
                       {"seed", sidecar.seed}}},
                     {"train", counts_to_json(sidecar.train)},
                     {"validation", counts_to_json(sidecar.validation)},
                     {"sources", std::move(sources)}};
  return format::json_text(json, 2) + "\n";
}

Sidecar parse_sidecar(const std::string& text, const std::string& name) try {
  const Json json = format::parse_json(text, name);
  if (format::json_string(json, "format", name) != kFormatName) {
    throw DataError(fmt::format("{}: does not describe prepared data", name));
  }
  if (const auto version = format::json_integer(json, "version", name); version != kFormatVersion) {
    throw DataError(fmt::format("{}: version {} is not supported (expected {})", name, version,
                                kFormatVersion));
  }
  Sidecar sidecar;
  const Json& tokenizer = format::json_object(json, "tokenizer", name);
  sidecar.tokenizer_file = format::json_string(tokenizer, "file", name);
  sidecar.tokenizer_kind = format::json_string(tokenizer, "kind", name);
  sidecar.tokenizer_hash = format::json_string(tokenizer, "xxh3", name);
  sidecar.vocab_size = count(tokenizer, "vocab_size", name);
  if (!format::json_member(tokenizer, "separator_id", name).is_null()) {
    const std::int64_t id = count(tokenizer, "separator_id", name);
    if (id >= sidecar.vocab_size || id > INT32_MAX) {
      throw DataError(fmt::format("{}: 'separator_id' {} is outside the vocabulary", name, id));
    }
    sidecar.separator_id = static_cast<std::int32_t>(id);
  }
  sidecar.lossless = format::json_bool(json, "lossless", name);
  const Json& split = format::json_object(json, "split", name);
  sidecar.split = format::json_string(split, "kind", name);
  sidecar.validation_share = format::json_number(split, "validation_share", name);
  sidecar.seed = static_cast<std::uint64_t>(count(split, "seed", name));
  sidecar.train = counts_from_json(format::json_object(json, "train", name), name);
  sidecar.validation = counts_from_json(format::json_object(json, "validation", name), name);
  for (const Json& source : format::json_array(json, "sources", name)) {
    sidecar.sources.push_back(
        {format::json_string(source, "path", name), count(source, "bytes", name),
         format::json_string(source, "xxh3", name), count(source, "documents", name),
         format::json_bool(source, "validation", name),
         source.contains("skipped") ? count(source, "skipped", name) : 0});
  }
  return sidecar;
} catch (const DataError& error) {
  throw with_hint(error);
}

PreparedData::PreparedData(fs::path folder, Sidecar sidecar, Tokenizer tokenizer, Tokens train,
                           Tokens validation)
    : folder_(std::move(folder)),
      sidecar_(std::move(sidecar)),
      tokenizer_(std::move(tokenizer)),
      train_(std::move(train)),
      validation_(std::move(validation)) {}

PreparedData::Tokens PreparedData::open_tokens(const fs::path& folder, Split split) {
  const fs::path index_path =
      config::data_set_file(folder, fmt::format("{}.idx", split_name(split)));
  const fs::path data_path =
      config::data_set_file(folder, fmt::format("{}.bin", split_name(split)));
  for (const fs::path& path : {index_path, data_path}) {
    if (!fs::exists(path)) {
      throw DataError(fmt::format("{} is missing", path.string()), kPrepareHint);
    }
  }
  MappedFile index(index_path);
  MappedFile data(data_path);
  format::IndexedDataset dataset(index.bytes(), data.bytes(), index_path.string(),
                                 data_path.string());
  index.check_whole();
  return {std::move(index), std::move(data), std::move(dataset)};
}

void PreparedData::read(Split split, std::int64_t position, std::span<std::int32_t> out) const {
  tokens(split).dataset.read(position, sidecar_.vocab_size, out);
  tokens(split).data.check_whole();
}

PreparedData PreparedData::open_once(const fs::path& folder) {
  const fs::path sidecar_path = config::data_set_file(folder, kSidecarName);
  if (!fs::exists(sidecar_path)) {
    throw DataError(
        fmt::format("{}: holds no {}, so it is no prepared data", folder.string(), kSidecarName),
        fmt::format("make it: switchyard prepare --input FILE --tokenizer bpe:4096 --output {}",
                    shell_path(folder.string())));
  }
  Sidecar sidecar = parse_sidecar(read_file(sidecar_path), sidecar_path.string());

  const fs::path tokenizer_path =
      config::data_set_file(folder, fs::path(sidecar.tokenizer_file).filename().string());
  if (!fs::is_regular_file(tokenizer_path)) {
    throw DataError(fmt::format("{} is missing", tokenizer_path.string()), kPrepareHint);
  }
  Tokenizer tokenizer = Tokenizer::load(tokenizer_path);
  if (tokenizer.hash() != sidecar.tokenizer_hash || tokenizer.vocab_size() != sidecar.vocab_size) {
    throw DataError(fmt::format("{}: not the tokenizer that {} names (hash {}, expected {})",
                                tokenizer_path.string(), sidecar_path.string(), tokenizer.hash(),
                                sidecar.tokenizer_hash),
                    kPrepareHint);
  }

  auto train = PreparedData::open_tokens(folder, Split::kTrain);
  auto validation = PreparedData::open_tokens(folder, Split::kValidation);
  const auto check = [&](Split split, const format::IndexedDataset& dataset) {
    const SplitCounts& counts = sidecar.counts(split);
    if (dataset.num_tokens() != counts.tokens || dataset.num_documents() != counts.documents) {
      throw DataError(
          fmt::format("{}/{}.idx: holds {} tokens in {} documents, {} says {} in {}",
                      folder.string(), split_name(split), dataset.num_tokens(),
                      dataset.num_documents(), kSidecarName, counts.tokens, counts.documents),
          kPrepareHint);
    }
  };
  check(Split::kTrain, train.dataset);
  check(Split::kValidation, validation.dataset);
  return {folder, std::move(sidecar), std::move(tokenizer), std::move(train),
          std::move(validation)};
}

// `prepare --overwrite` may replace the data set between the opening of one file and the next. What
// is open stays as it was, so that all files are of one data set when data.json, which has the
// checksums of the others, is the same before and after.
PreparedData open_prepared(const fs::path& folder) {
  constexpr int kMostTries = 10;
  for (int attempt = 1;; ++attempt) {
    const Moment before = moment_of(folder);
    try {
      PreparedData data = PreparedData::open_once(folder);
      if (moment_of(folder).sidecar == before.sidecar) return data;
    } catch (const Error&) {
      const bool was_replaced = before.is_replacement || moment_of(folder) != before;
      if (!was_replaced || attempt == kMostTries) throw;
    }
    if (attempt == kMostTries) {
      throw DataError(
          fmt::format("{} was replaced again and again while it was read", folder.string()),
          "wait for the `switchyard prepare` that writes it");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(attempt));
  }
}

}  // namespace switchyard::data
