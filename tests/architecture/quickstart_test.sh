#!/usr/bin/env bash
# tools/quickstart.sh beside programs that only pretend: whose files it replaces, and where its later
# steps look for the run.
set -euo pipefail
tools="$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../tools")"
source "$(dirname "${BASH_SOURCE[0]}")/pretence.sh"
mkdir -p "$folder"/{tools,bin,build/release}
cp "$tools"/{quickstart,common}.sh "$folder/tools/"
pretend "$folder/tools/setup.sh" < /dev/null
pretend "$folder/bin/cmake" < /dev/null
pretend "$folder/bin/bible" <<< 'printf "%1000s" text'
pretend "$folder/build/release/switchyard" <<'PROGRAM'
echo "$*" >> "$DONE"
for argument in "$@"; do
  case $argument in run.dir=*) run=${argument#run.dir=} ;; esac
done
case $1 in
  prepare) mkdir "$7" && touch "$7/data.json" ;;
  pretrain) mkdir -p "$run" ;;
  evaluate | generate) [[ -d $2 ]] ;;
esac
PROGRAM
export SWITCHYARD_CACHE="$folder/cache" DONE="$folder/done" PATH="$folder/bin:$PATH"
quickstart() {
  : > "$DONE"
  (cd "$folder" && tools/quickstart.sh "$@") > "$folder/said" 2>&1
}
data="$folder/runs/quickstart-data"

quickstart || fail "does not run"
[[ $(stat -c %s "$data/train.txt" "$data/heldout.txt" | xargs) == "950 50" ]] || fail "other texts"
[[ -e $data/bpe2048/data.json && -d $folder/runs/quickstart ]] || fail "no data or no run"
[[ $(find "$data" -mindepth 1 -maxdepth 1 | wc -l) == 3 ]] || fail "something is left in $data"

# Other data sets lie in the same folder.
mkdir -p "$data/bpe512" "$data.partial"
touch "$data/bpe512/mine" "$data.partial/mine"
rm "$data/heldout.txt"
quickstart || fail "does not run again"
[[ -e $data/heldout.txt ]] || fail "a text that is missing was not written"
[[ -e $data/bpe512/mine && -e $data/bpe2048/data.json && -e $data.partial/mine ]] ||
  fail "more was replaced than the texts"
[[ -d $folder/runs/quickstart-2 ]] || fail "no second run"

# A folder that the user names is that of every step.
quickstart run.dir=elsewhere/first run.dir="elsewhere/a run" train.steps=5 || fail "run.dir is not followed"
[[ $(grep -c '^\(evaluate\|generate\) elsewhere/a run ' "$DONE") == 2 ]] || fail "other runs are looked at"
[[ ! -e $folder/runs/quickstart-3 ]] || fail "a folder that nobody named was made"
for setting in data.path=data/mine 'data.blend=[{path: data/mine}]'; do
  if quickstart "$setting"; then fail "$setting was not refused"; fi
  grep -qF "switchyard pretrain configs/quickstart.yaml $setting" "$folder/said" || fail "no advice"
  [[ ! -s $DONE ]] || fail "$setting was refused too late"
done
quickstart --help && grep -q '^  tools/quickstart.sh \[key' "$folder/said" && [[ ! -s $DONE ]] || fail "no help"
