#!/usr/bin/env bash
# Does attention know how many experts a token needs? What is reported of DA-MoE, at the size of two
# CPU cores: an encoder is pretrained with each of five ways to route, on the same tokens, each is
# fine-tuned on several tasks with several seeds, and the medians are printed with what
# `switchyard compare` says of each pair (paired by seed).
#
#   ceil          attention_importance, ceil(importance x experts) of them: nothing sets the mean
#   proportional  the same importance with k_mean = K, the mean that `ceil` came to in pretraining
#   top_p         a share p of the router's probability, held at K experts in the mean (target_k),
#                 in fine-tuning too: its mean says nothing about a task
#   top_k_below   K rounded down, the same number for every token
#   top_k_above   one more
#
# usage: tools/bench/compare_glue_routers.sh OUTPUT DATA GLUE
#                                    [--tasks LIST] [--seeds N] [--jobs N] [key.sub=value ...]
#   DATA: folder written by `switchyard prepare`; GLUE: the folder of the tasks (docs/glue.md). Call it
#   again with the same arguments to go on where it stopped. --tasks (cola,sst2,mrpc,qqp), --seeds (5):
#   of fine-tuning; pretraining has one. --jobs (1): models at a time, among which the cores are
#   divided. Keys of `finetune` go to fine-tuning (finetune.max_rows=2000), all others to pretraining.
#   SWITCHYARD names another program, CONFIG another encoder than configs/encoder-glue.yaml.
set -euo pipefail

say() { printf 'compare_glue_routers: %s\n' "$*" >&2; }
usage() { sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "$0" >&2; exit "$1"; }

paths=() pretraining=() finetuning=(finetune.epochs=2 finetune.max_rows=10000)
tasks=cola,sst2,mrpc,qqp seeds=5 jobs=1
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage 0 ;;
    --tasks) tasks=${2:?--tasks needs names}; shift ;;
    --seeds) seeds=${2:?--seeds needs a number}; shift ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift ;;
    --*) say "unknown option $1"; usage 2 ;;
    finetune.*=*) finetuning+=("$1") ;;
    *.*=*) pretraining+=("$1") ;;
    *) paths+=("$1") ;;
  esac
  shift
done
[[ ${#paths[@]} -eq 3 ]] || usage 2
for number in "$seeds" "$jobs"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || { say "expected a number from 1 on, got '$number'"; exit 2; }
done

root=$(cd "$(dirname "$0")/../.." && pwd)
switchyard=${SWITCHYARD:-$root/build/release/switchyard}
config=${CONFIG:-$root/configs/encoder-glue.yaml}
output=${paths[0]} data=${paths[1]} glue=${paths[2]}
for file in "$switchyard" "$config" "$data" "$glue"; do
  [[ -e $file ]] || { say "$file does not exist"; exit 2; }
done

# What makes the models comparable is written down once and must stay the same.
mkdir -p "$output"
plan=$(printf '%s\n' "config $(sha256sum < "$config")" "data $data $glue" "tasks $tasks" \
  "pretraining ${pretraining[*]-}" "finetuning ${finetuning[*]}")
if [[ ! -e $output/plan.txt ]]; then
  printf '%s\n' "$plan" > "$output/plan.txt"
elif [[ $plan != "$(< "$output/plan.txt")" ]]; then
  say "$output holds models of another config, text, tasks or other keys; give a new folder"
  exit 2
fi

# LOG ARGUMENT...: the program, as a child that a signal to this shell stops (it saves then).
run_program() {
  "$switchyard" "${@:2}" >> "$1" 2>&1 &
  # shellcheck disable=SC2064  # this child
  trap "kill $! 2> /dev/null; wait $!; exit 130" INT TERM
  local code=0
  wait $! || code=$?
  trap - INT TERM
  [[ $code -eq 0 || $code -eq 76 ]] || { say "$2 failed: see $1"; return 1; } # 76: a seed diverged
}

# NAME KEY=VALUE...
pretrain() {
  local name=$1 run=$output/encoder-$1
  [[ ! -e $run.done ]] || return 0
  say "pretraining $name"
  # The program itself sees whether there is a checkpoint, or another call at work in the folder.
  run_program "$run.log" pretrain --or-resume "$config" "data.path=$data" "run.dir=$run" "${@:2}" \
    "${pretraining[@]}" || return 1
  touch "$run.done"
}

# NAME: finished seeds are read, so that a second call costs nothing.
finetune() {
  say "fine-tuning $1"
  run_program "$output/glue-$1.log" finetune --task "$tasks" --data "$glue" \
    --from "$output/encoder-$1" --output "$output/glue-$1" --seeds "$seeds" run.seed=1 \
    "${finetuning[@]}"
}

# Mean over the second half of the steps that were logged; a resumed run may hold a step twice.
mean_experts() {
  python3 - "$output/encoder-ceil/metrics.jsonl" << 'EOF'
import json, sys
steps = {}
for line in open(sys.argv[1], encoding="utf-8"):
    record = json.loads(line)
    if "event" not in record:
        steps[record["step"]] = record["experts_per_token"]
later = [steps[step] for step in sorted(steps)][len(steps) // 2 :]
print(f"{sum(later) / len(later):.3f}")
EOF
}

# FUNCTION with each line of the standard input, `jobs` at a time.
at_a_time() {
  local line words failed=0
  # shellcheck disable=SC2046  # several jobs
  trap 'kill $(jobs -p) 2> /dev/null; wait; exit 130' INT TERM
  while read -r line; do
    while (( $(jobs -p | wc -l) >= jobs )); do wait -n || failed=1; done
    [[ $failed -eq 0 ]] || break
    read -ra words <<< "$line"
    "$1" "${words[@]}" &
  done
  while (( $(jobs -p | wc -l) > 0 )); do wait -n || failed=1; done
  [[ $failed -eq 0 ]] || exit 1
}

router=model.moe.router
measure=attention_received_peak
pretrain ceil "$router.type=attention_importance" "$router.importance=$measure" \
  "$router.allocation=ceil_experts"
mean=$(mean_experts)
below=${mean%.*}
one=''
[[ $below -gt 1 ]] || one=$router.renormalize=false # of one expert the share is always 1
say "ceil came to $mean experts per token"

threads=$(( $(nproc) / jobs ))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( threads > 0 ? threads : 1 ))}
at_a_time pretrain << EOF
proportional $router.type=attention_importance $router.importance=$measure $router.k_mean=$mean
top_p $router.type=top_p $router.target_k=$mean
top_k_below $router.type=top_k $router.k=$below $one
top_k_above $router.type=top_k $router.k=$((below + 1))
EOF
at_a_time finetune << EOF
ceil
proportional
top_p
top_k_below
top_k_above
EOF

python3 "$root/tools/bench/glue_router_table.py" "$output"
for other in top_k_below top_k_above top_p proportional; do
  printf '\n## ceil against %s\n\n' "$other"
  "$switchyard" compare "$output/glue-$other" "$output/glue-ceil"
done
printf '\n## proportional against top_k\n\n'
"$switchyard" compare "$output/glue-top_k_below" "$output/glue-proportional"
