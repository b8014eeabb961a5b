// Continues a text, one token at a time, and tells how many experts each token got.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "switchyard/data/tokenizer.h"
#include "switchyard/inference/rank_share.h"
#include "switchyard/inference/sampling.h"
#include "switchyard/model/decoder.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::inference {

struct GenerateOptions {
  SamplingOptions sampling = {};
  std::int64_t max_tokens = 100;
  std::int64_t sequence_length = 0;  // S, the trained window
  std::int64_t step = 0;             // training steps done, for routers with a warm-up
  // False: the whole window is computed again for every token, to verify the cached path.
  bool use_cache = true;
  // Every rank makes the same text: the tokens are those that the first one chooses, since numbers
  // may differ in their last bits.
  RankShare ranks = {};
  // Asked before every new token, of all ranks as often: true = enough.
  std::function<bool()> should_stop = {};
};

struct GeneratedToken {
  std::int32_t id = 0;
  std::string_view bytes = {};  // what it adds to the text
  bool is_prompt = false;
  double experts = 0.0;  // mean over MoE layers of the experts that this token got; 0 without any
};

struct Generation {
  std::string text;  // of the new tokens
  std::int64_t num_tokens = 0;
  bool reached_end = false;   // the model ended the document
  bool window_moved = false;  // the text outgrew the trained window
  bool was_stopped = false;   // by should_stop
};

// Tokens come to `on_token` in order, the prompt's first, each once its experts are known. The
// text begins after the document separator, if the tokenizer has one, and ends with it. Tokens that
// stand for no text (padding, unknown, begin) are never chosen. When the trained window is full,
// its older half is forgotten and the rest computed again from position 0.
// Throws NonFiniteError when the model's output is not finite.
[[nodiscard]] Generation generate(model::Decoder& decoder, const data::Tokenizer& tokenizer,
                                  std::string_view prompt, const GenerateOptions& options,
                                  const std::function<void(const GeneratedToken&)>& on_token = {});

}  // namespace switchyard::inference
