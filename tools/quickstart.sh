#!/usr/bin/env bash
# From a bare machine to a trained Top-P model: installs what is missing, builds, trains a small
# decoder on the King James text of the Debian package bible-kjv, evaluates it on the held-out last
# 5 % and prints a sample. Run it again for another run; what is there already is reused.
#   tools/quickstart.sh [key.sub=value ...]     overrides for the training, e.g. train.steps=100
# A run goes to runs/quickstart, runs/quickstart-2, ..., or to the folder of run.dir=FOLDER.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'quickstart: error: %s\n' "$*" >&2; exit 1; }

readonly runs="$repository/runs"
readonly text="$runs/quickstart-data"   # train.txt, heldout.txt
readonly tokens="$text/bpe2048"         # what `prepare` writes; other folders in it are the user's
readonly switchyard="$repository/build/release/switchyard"

# What is not finished lies beside what it becomes, in a folder that goes away with this script.
unfinished=''
make_unfinished() {
  [[ -z $unfinished ]] || return 0
  mkdir -p "$text"
  unfinished=$(mktemp -d "$text/.unfinished.XXXXXX")
  trap 'rm -rf "$unfinished"' EXIT
}

# Writes the corpus and splits off its last 5 % of bytes, which neither training nor the tokenizer
# ever sees.
write_corpus() {
  make_unfinished
  local bible=bible all="$unfinished/all.txt" size heldout
  command -v bible > /dev/null || bible=/usr/games/bible # where Debian may put it
  "$bible" gen1:1-rev22:21 > "$all" || die "the package bible-kjv did not print its text"
  size=$(stat -c %s "$all")
  heldout=$((size * 5 / 100))
  head -c $((size - heldout)) "$all" > "$unfinished/train.txt"
  tail -c "$heldout" "$all" > "$unfinished/heldout.txt"
  [[ $(stat -c %s "$unfinished/heldout.txt") -eq $heldout ]] || die "could not write $unfinished"
  if [[ $heldout -ne 214911 ]]; then
    echo "note: this bible-kjv holds out $heldout bytes, not 214911: bits per byte are not" \
      "comparable with docs/results.md"
  fi
  mv "$unfinished/train.txt" "$unfinished/heldout.txt" "$text"
}

prepare_tokens() {
  make_unfinished
  "$switchyard" prepare --input "$text/train.txt" --tokenizer bpe:2048 \
    --output "$unfinished/bpe2048" --validation 0.005
  mv -T "$unfinished/bpe2048" "$tokens"
}

new_run_folder() { # the first of runs/quickstart, runs/quickstart-2, ... that is not there yet
  local folder="$runs/quickstart" number=1
  while [[ -e $folder ]]; do
    number=$((number + 1))
    folder="$runs/quickstart-$number"
  done
  echo "$folder"
}

run=''
for setting in "$@"; do
  case $setting in
    -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    run.dir=*) run=${setting#run.dir=} ;;
    data.path=* | data.blend=*)
      die "$setting: this script trains on its own text, and judges by it. For other data:" \
        "switchyard pretrain configs/quickstart.yaml $setting run.dir=FOLDER" ;;
  esac
done

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

[[ -n $run ]] || run=$(new_run_folder)
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
