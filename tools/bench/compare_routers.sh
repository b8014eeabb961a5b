#!/usr/bin/env bash
# Trains a small decoder (compare_routers.yaml) with every router at the same mean number of experts
# (2), on the same tokens, and prints Markdown tables (tools/bench/router_table.py): bits per byte on
# a text that was not trained on, experts per token, tokens/s, FLOPs, load, dead experts, what each
# run had reached when it had spent the FLOPs of the cheapest, and differences from top_k with an
# interval.
#
# usage: tools/bench/compare_routers.sh OUTPUT DATA HELD_OUT_TEXT [DATA_2 HELD_OUT_TEXT_2]
#                                       [--hours H] [--jobs N] [--list] [key.sub=value ...]
#   DATA: folder written by `switchyard prepare`. 8 experts: three seeds, also of smaller budgets; 16,
#   32, and the second text: one. Call it again with the same arguments to go on where it stopped: a
#   run that is done is kept, one that was killed is resumed. --hours (4): no further run begins after
#   that time in this call. --jobs (1): runs at a time, among which the cores are divided; tokens/s are
#   then not those of a run alone. --list: the runs and which are done. SWITCHYARD names another
#   program, CONFIG another config.
set -euo pipefail

say() { printf 'compare_routers: %s\n' "$*" >&2; }
usage() { sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "$0" >&2; exit "$1"; }

paths=() overrides=() hours=4 jobs=1 list=0
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage 0 ;;
    --hours) hours=${2:?--hours needs a number}; shift ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift ;;
    --list) list=1 ;;
    --*) say "unknown option $1"; usage 2 ;;
    *.*=*) overrides+=("$1") ;;
    *) paths+=("$1") ;;
  esac
  shift
done
[[ ${#paths[@]} -eq 3 || ${#paths[@]} -eq 5 ]] || usage 2
[[ $hours =~ ^[0-9]+(\.[0-9]+)?$ ]] || { say "--hours: expected a number, got '$hours'"; exit 2; }
[[ $jobs =~ ^[1-9][0-9]*$ ]] || { say "--jobs: expected a number from 1 on, got '$jobs'"; exit 2; }

root=$(cd "$(dirname "$0")/../.." && pwd)
switchyard=${SWITCHYARD:-$root/build/release/switchyard}
config=${CONFIG:-$root/tools/bench/compare_routers.yaml}
output=${paths[0]}
deadline=$(awk -v now="$(date +%s)" -v hours="$hours" 'BEGIN { printf "%d", now + hours * 3600 }')
threads=$(( $(nproc) / jobs ))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( threads > 0 ? threads : 1 ))}
for file in "$switchyard" "$config" "${paths[@]:1}"; do
  [[ -e $file ]] || { say "$file does not exist"; exit 2; }
done

# Every router at a mean of 2 experts. relu and expert_threshold balance by themselves; a short run
# needs thresholds that follow (docs/routers.md).
routers=(top_k top_k_biased top_p top_p_normalized attention_importance relu expert_threshold)
options_of() {
  case $1 in
    top_k) echo type=top_k k=2 ;;
    top_k_biased) echo type=top_k k=2 bias_rate=1e-3 ;;
    top_p) echo type=top_p target_k=2 ;;
    top_p_normalized) echo type=top_p target_k=2 normalize_logits=true ;;
    attention_importance) echo type=attention_importance k_mean=2 ;;
    relu) echo type=relu target_k=2 ;;
    expert_threshold) echo type=expert_threshold target_k=2 threshold_decay=0.99 ;;
    top_k_1) echo type=top_k k=1 renormalize=false ;;
    top_p_1_5) echo type=top_p target_k=1.5 ;;
  esac
}

# What makes runs comparable is written down once and must stay the same.
mkdir -p "$output"
plan=$(printf '%s\n' "config $(sha256sum < "$config")" "data ${paths[*]:1}" "keys ${overrides[*]-}")
if [[ ! -e $output/plan.txt ]]; then
  printf '%s\n' "$plan" > "$output/plan.txt"
elif [[ $plan != "$(< "$output/plan.txt")" ]]; then
  say "$output holds runs of another config, text or other keys; give a new folder"
  exit 2
fi

# One run: GROUP ROUTER SEED EXPERTS DATA TEXT. Its last step is a rename, so that a killed call
# leaves nothing that looks done.
run_one() {
  local name="$1-$2-seed$3" router=$2 seed=$3 experts=$4 data=$5 text=$6 option
  local run=$output/$name
  if [[ -e $run.json ]]; then
    [[ $list -eq 0 ]] || echo "done    $name"
    return
  fi
  if [[ $list -eq 1 ]]; then
    echo "to do   $name"
    return
  fi
  while (( $(jobs -p | wc -l) >= jobs )); do wait -n || give_up; done
  if [[ $(date +%s) -ge $deadline ]]; then
    left=$((left + 1))
    return
  fi
  local keys=("data.path=$data" "run.dir=$run" "run.seed=$seed" "model.moe.num_experts=$experts")
  for option in $(options_of "$router"); do keys+=("model.moe.router.$option"); done
  [[ $router != top_k_biased ]] || keys+=(model.moe.loss.load_balance=0)
  train_one "$name" "$run" "$text" "${keys[@]}" &
}

# A run that failed has said why.
give_up() {
  wait
  exit 1
}

# NAME FOLDER TEXT KEY=VALUE...: trains, or goes on, and evaluates.
train_one() {
  local name=$1 run=$2 text=$3
  local keys=("${@:4}")
  say "$name"
  # The program itself sees whether there is a checkpoint, or another call at work in the folder.
  "$switchyard" pretrain --or-resume "$config" "${keys[@]}" "${overrides[@]}" >> "$run.log" 2>&1 &
  # shellcheck disable=SC2064  # this child
  trap "kill $! 2> /dev/null; wait $!; exit 130" TERM
  wait $! || { say "$name failed: see $run.log"; exit 1; }
  trap - TERM
  "$switchyard" evaluate "$run" --text "$text" --json > "$run.json.partial"
  mv "$run.json.partial" "$run.json"
}

left=0
trap 'kill $(jobs -p) 2> /dev/null; wait; exit 130' INT TERM
for seed in 1 2 3; do
  for router in "${routers[@]}"; do
    run_one experts8 "$router" "$seed" 8 "${paths[1]}" "${paths[2]}"
  done
done
for seed in 1 2 3; do # what the second expert is worth at all
  for router in top_k_1 top_p_1_5; do
    run_one budgets8 "$router" "$seed" 8 "${paths[1]}" "${paths[2]}"
  done
done
for experts in 16 32; do
  for router in "${routers[@]}"; do
    run_one "experts$experts" "$router" 1 "$experts" "${paths[1]}" "${paths[2]}"
  done
done
if [[ ${#paths[@]} -eq 5 ]]; then
  for router in "${routers[@]}"; do
    run_one text2 "$router" 1 8 "${paths[3]}" "${paths[4]}"
  done
fi
while (( $(jobs -p | wc -l) > 0 )); do wait -n || give_up; done
[[ $list -eq 0 ]] || exit 0
[[ $left -eq 0 ]] || say "out of time with $left runs left; call again to go on"
exec python3 "$root/tools/bench/router_table.py" "$output"
