#!/usr/bin/env bash
# Trains the same small decoder with each router on the same tokens and prints a Markdown table:
# bits per byte on a text that was not trained on, realised experts per token, activated parameters,
# tokens per second. Two seeds each.
#
# usage: tools/bench/compare_routers.sh DATA HELD_OUT_TEXT OUTPUT [key.sub=value ...]
#   DATA: folder written by `switchyard prepare`; OUTPUT: folder for the six runs (must be new)
set -euo pipefail

if [[ $# -lt 3 ]]; then
  sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
fi
data=$1 text=$2 output=$3
shift 3
root=$(cd "$(dirname "$0")/../.." && pwd)
switchyard=${SWITCHYARD:-$root/build/release/switchyard}
config=${CONFIG:-$root/configs/quickstart.yaml}
if [[ -e $output ]]; then
  echo "compare_routers: $output exists; give a new folder" >&2
  exit 2
fi
mkdir -p "$output"

run_one() {
  local name=$1 seed=$2
  shift 2
  local run=$output/$name-seed$seed
  "$switchyard" pretrain "$config" "data.path=$data" "run.dir=$run" "run.seed=$seed" "$@" \
    >"$output/$name-seed$seed.log" 2>&1
  "$switchyard" evaluate "$run" --text "$text" --json >"$output/$name-seed$seed.json"
}

for seed in 1 2; do
  run_one top_k $seed model.moe.router.type=top_k model.moe.router.k=2 "$@"
  run_one top_p $seed model.moe.router.type=top_p model.moe.router.p=0.4 "$@"
  run_one attention_importance $seed model.moe.router.type=attention_importance \
    model.moe.router.importance=attention_entropy model.moe.router.k_mean=2 "$@"
done

python3 - "$output" <<'EOF'
import json, pathlib, statistics, sys

output = pathlib.Path(sys.argv[1])
print("| router | seed | bits per byte | k at the end | k on the text | activated parameters | tokens/s |")
print("|---|---|---|---|---|---|---|")
for name in ("top_k", "top_p", "attention_importance"):
    for seed in (1, 2):
        run = f"{name}-seed{seed}"
        text = json.loads((output / f"{run}.json").read_text())
        records = [json.loads(line) for line in (output / run / "metrics.jsonl").open()]
        steps = [r for r in records if "tokens_per_second" in r]
        speed = statistics.median(r["tokens_per_second"] for r in steps[1:])
        print(
            f"| {name} | {seed} | {text['bits_per_byte']:.3f} | {steps[-1]['experts_per_token']:.2f} "
            f"| {text['experts_per_token']:.2f} | {text['activated_parameters'] / 1e6:.2f} M "
            f"| {speed:,.0f} |"
        )
EOF
