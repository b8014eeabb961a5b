#!/usr/bin/env bash
# From a bare machine to a trained Top-P model: installs what is missing, builds, trains a small
# decoder on the King James text of the Debian package bible-kjv, evaluates it on the held-out last
# 5 % and prints a sample. Run it again for another run; what is there already is reused.
#   tools/quickstart.sh [key.sub=value ...]     overrides for the training, e.g. train.steps=100
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'quickstart: error: %s\n' "$*" >&2; exit 1; }

readonly runs="$repository/runs"
readonly text="$runs/quickstart-data"   # train.txt, heldout.txt
readonly tokens="$text/bpe2048"         # what `prepare` writes
readonly switchyard="$repository/build/release/switchyard"

# Writes the corpus and splits off its last 5 % of bytes, which neither training nor the tokenizer
# ever sees.
write_corpus() {
  local bible=bible all="$text.partial/all.txt" size heldout
  command -v bible > /dev/null || bible=/usr/games/bible # where Debian may put it
  rm -rf "$text.partial"
  mkdir -p "$text.partial"
  "$bible" gen1:1-rev22:21 > "$all" || die "the package bible-kjv did not print its text"
  size=$(stat -c %s "$all")
  heldout=$((size * 5 / 100))
  head -c $((size - heldout)) "$all" > "$text.partial/train.txt"
  tail -c "$heldout" "$all" > "$text.partial/heldout.txt"
  [[ $(stat -c %s "$text.partial/heldout.txt") -eq $heldout ]] || die "could not write $text.partial"
  if [[ $heldout -ne 214911 ]]; then
    echo "note: this bible-kjv holds out $heldout bytes, not 214911: bits per byte are not" \
      "comparable with docs/results.md"
  fi
  rm -rf "$all" "$text"
  mv "$text.partial" "$text"
}

prepare_tokens() {
  rm -rf "$tokens.partial"
  "$switchyard" prepare --input "$text/train.txt" --tokenizer bpe:2048 --output "$tokens.partial" \
    --validation 0.005
  mv "$tokens.partial" "$tokens"
}

new_run_folder() { # the first of runs/quickstart, runs/quickstart-2, ... that is not there yet
  local folder="$runs/quickstart" number=1
  while [[ -e $folder ]]; do
    number=$((number + 1))
    folder="$runs/quickstart-$number"
  done
  echo "$folder"
}

say "set-up"
"$repository/tools/setup.sh" --corpus
say "build"
build release switchyard switchyard-engine

if [[ ! -f $text/train.txt || ! -f $text/heldout.txt ]]; then
  say "corpus: King James text into $text"
  write_corpus
fi
if [[ ! -d $tokens ]]; then
  say "prepare: tokenizer of 2048 pieces, token files"
  prepare_tokens
fi

# Without bf16 instructions, bf16 is emulated and slower than fp32.
precision=bf16
grep -qE 'amx_bf16|avx512_bf16' /proc/cpuinfo || precision=fp32

run=$(new_run_folder)
say "train: $run (configs/quickstart.yaml)"
status=0
"$switchyard" pretrain "$repository/configs/quickstart.yaml" \
  data.path="$tokens" run.dir="$run" train.precision="$precision" "$@" || status=$?
if [[ $status -eq 75 ]]; then
  echo "Stopped; the weights so far are in $run/checkpoints"
fi
[[ $status -eq 0 ]] || exit "$status"

say "evaluate: the held-out last 5 % of the text"
"$switchyard" evaluate "$run" --text "$text/heldout.txt"

say "generate: each token with the number of experts it got"
"$switchyard" generate "$run" --prompt "And it came to pass" --show-experts

say "done"
echo "run:      $run"
echo "metrics:  $run/metrics.jsonl"
echo "sample:   $switchyard generate $run --prompt TEXT --show-experts"
echo "evaluate: $switchyard evaluate $run --text FILE"
