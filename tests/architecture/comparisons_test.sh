#!/usr/bin/env bash
# The comparisons of tools/bench beside a program that only pretends: a second call takes nothing
# away from the first one, whether that is still at work or was killed.
set -euo pipefail
bench="$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../tools/bench")"
source "$(dirname "${BASH_SOURCE[0]}")/pretence.sh"
cat > "$folder/switchyard" <<'PROGRAM'
#!/bin/sh
echo "$*" >> "$DONE"
echo "process 1 is working in the run folder"
exit 64
PROGRAM
chmod +x "$folder/switchyard"
touch "$folder/heldout.txt" "$folder/done"
mkdir "$folder/data"
export SWITCHYARD="$folder/switchyard" DONE="$folder/done"

keeps() { # FOLDER OF A RUN, COMMAND...: a run without a pointer to a checkpoint
  local run=$1 status=0
  shift
  mkdir -p "$run/checkpoints/step-000005"
  touch "$run/config.yaml" "$run/checkpoints/step-000005/model.safetensors"
  echo "step 5" > "$run.log"
  : > "$DONE"
  "$@" > "$folder/said" 2>&1 || status=$?
  [[ $status == 1 ]] && grep -qF "failed: see $run.log" "$folder/said" || fail "$1: status $status"
  [[ -e $run/config.yaml && -e $run/checkpoints/step-000005/model.safetensors ]] || fail "$run was removed"
  [[ $(head -n 1 "$run.log") == "step 5" && $(wc -l < "$run.log") == 2 ]] || fail "the log begins anew"
  [[ $(wc -l < "$DONE") == 1 ]] || fail "more was begun"
  grep -q "^pretrain --or-resume .* run.dir=$run " "$DONE" || fail "not gone on with"
}
keeps "$folder/routers/experts8-top_k-seed1" \
  "$bench/compare_routers.sh" "$folder/routers" "$folder/data" "$folder/heldout.txt" train.steps=10
keeps "$folder/glue/encoder-ceil" \
  "$bench/compare_glue_routers.sh" "$folder/glue" "$folder/data" "$folder/data" train.steps=10

# An environment that is not ready is gone on with as well.
mkdir -p "$folder/bin" "$folder/cache/compare_transformers"
touch "$folder/cache/compare_transformers/mine"
cat > "$folder/bin/python3" <<'PROGRAM'
#!/bin/sh
mkdir -p "$3/bin"
printf '#!/bin/sh\n' > "$3/bin/pip"
printf '#!/bin/sh\necho compared\n' > "$3/bin/python"
chmod +x "$3/bin/pip" "$3/bin/python"
PROGRAM
printf '#!/bin/sh\nshift 2\nexec "$@"\n' > "$folder/bin/taskset" # a core may not be ours
chmod +x "$folder/bin/python3" "$folder/bin/taskset"
PATH="$folder/bin:$PATH" SWITCHYARD_CACHE="$folder/cache" PROGRAM=none OMP_NUM_THREADS=1 \
  "$bench/compare_transformers.sh" > "$folder/said" 2>&1 || fail "compare_transformers does not run"
grep -qx compared "$folder/said" || fail "nothing was compared"
[[ -e $folder/cache/compare_transformers/mine ]] || fail "a folder in the cache was removed"
