// Text in, token files out: what `switchyard prepare` does.
//
// Inputs. A text file is one document, unless `document_separator` cuts it; a .jsonl or .ndjson
// file has one document per line. A byte order mark at a file's beginning is dropped, everything
// else is kept as it is: CRLF, NUL bytes, trailing newlines. Text that is not UTF-8 is refused.
// gzip and Zstandard files, told from their bytes, are what is in them.
// A folder stands for its .txt, .text, .md, .jsonl and .ndjson files, compressed (.gz, .zst) or
// not, in the order of their paths.
//
// Split. The share is of the bytes. `document` holds back whole documents, drawn at random but
// always the same ones; `tail` holds back the end of every document; `auto` is `document` from 100
// documents on. A tokenizer that is trained here sees nothing of what is held back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/data/prepared_data.h"

namespace switchyard::data {

struct PrepareOptions {
  std::vector<std::string> inputs;             // files, folders, "-" for standard input
  std::vector<std::string> validation_inputs;  // all of it is held back
  std::string tokenizer;                       // bytes | bpe:N | unigram:N | FILE.model
  std::filesystem::path output;
  // Share of `inputs` that is held back, in [0, 1); default 0.05, or 0 with validation_inputs.
  std::optional<double> validation;
  std::string split = "auto";       // auto | document | tail
  std::string format = "auto";      // auto (by the file's name) | text | jsonl
  std::string text_field = "text";  // of a JSONL object
  // Leave out JSONL lines that are no valid JSON or hold no string under `text_field`.
  bool skip_bad_records = false;
  std::string document_separator;  // in text files; goes with the line break after it
  bool overwrite = false;          // replace prepared data that is already there
  std::int64_t num_samples = 3;
  std::uint64_t seed = 0;  // of the document draw
};

struct PrepareReport {
  Sidecar sidecar;
  double bytes_per_token = 0.0;      // over both splits, separators not counted
  std::vector<std::string> samples;  // short stretches of the training tokens, read back
  double held_back = 0.0;            // share of the bytes of `inputs`
  std::int64_t num_skipped = 0;      // records (skip_bad_records)
  std::vector<std::string> warnings;
  std::vector<std::string> notes;  // what a user should know: files left out, marks dropped, ...
};

// Writes the folder `options.output` in one rename at the end, so that a killed run leaves nothing
// that looks complete. Throws UsageError (options, an output that exists), DataError (file and
// offset of what cannot be used) or StorageError.
[[nodiscard]] PrepareReport prepare(const PrepareOptions& options);

}  // namespace switchyard::data
