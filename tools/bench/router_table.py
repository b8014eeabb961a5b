#!/usr/bin/env python3
"""The tables of tools/bench/compare_routers.sh, from the runs in its output folder.

    tools/bench/router_table.py OUTPUT

FLOPs are those of the matrices, 6 for every parameter that a token uses at the k of each record;
attention's, which are the same for all, are left out.
"""

import json
import math
import pathlib
import re
import statistics
import sys
from dataclasses import dataclass

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
BASELINE = "top_k"


@dataclass
class Run:
    group: str
    router: str
    seed: int
    bits: float  # per byte, on the held-out text
    k: float  # mean over training
    k_text: float
    tokens_per_second: float
    violation: float  # fullest expert / mean - 1, mean over the second half
    dead: int
    flops: list  # spent until each evaluation
    losses: list  # of the evaluations

    @property
    def total_flops(self):
        return self.flops[-1]

    def loss_at(self, flops):
        """Validation loss when so much was spent, between two evaluations by proportion."""
        for (f0, f1), (l0, l1) in zip(zip(self.flops, self.flops[1:]), zip(self.losses, self.losses[1:])):
            if f0 <= flops <= f1:
                return l0 + (l1 - l0) * (flops - f0) / (f1 - f0)
        return self.losses[-1] if flops >= self.flops[-1] else math.nan


def number_in(config, key):
    found = re.search(rf"^\s*{key}:\s*(\d+)", config, re.MULTILINE)
    if not found:
        raise SystemExit(f"router_table: no {key} in a resolved config")
    return int(found.group(1))


def read_run(file):
    group, router, seed = re.fullmatch(r"(\w+)-(\w+)-seed(\d+)", file.stem).groups()
    folder = file.with_suffix("")
    text = json.loads(file.read_text())
    steps, evaluations = {}, {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("event") == "resume":  # what came after that step was done again
            steps = {step: r for step, r in steps.items() if step <= record["step"]}
            evaluations = {step: r for step, r in evaluations.items() if step <= record["step"]}
        elif record.get("event") == "evaluation":
            evaluations[record["step"]] = record
        elif "event" not in record:
            steps[record["step"]] = record
    config = (folder / "config.resolved.yaml").read_text()
    records = [steps[step] for step in sorted(steps)]
    num_layers = len(records[-1]["layers"])
    per_expert = 3 * number_in(config, "hidden_size") * number_in(config, "expert_size") * num_layers
    always = text["activated_parameters"] - text["experts_per_token"] * per_expert

    spent, tokens, flops_at = 0.0, 0, {}
    for record in records:
        spent += 6 * (always + record["experts_per_token"] * per_expert) * (record["tokens"] - tokens)
        tokens = record["tokens"]
        flops_at[record["step"]] = spent
    evaluated = [step for step in sorted(evaluations) if step in flops_at]
    later = records[len(records) // 2 :]
    return Run(
        group=group,
        router=router,
        seed=int(seed),
        bits=text["bits_per_byte"] if text["bits_per_byte"] is not None else math.nan,
        k=statistics.mean(r["experts_per_token"] for r in records),
        k_text=text["experts_per_token"],
        tokens_per_second=statistics.median(r["tokens_per_second"] for r in records),
        violation=statistics.mean(r["max_violation"] for r in later),
        dead=records[-1]["dead_experts"],
        flops=[flops_at[step] for step in evaluated] or [spent],
        losses=[evaluations[step]["loss"] for step in evaluated] or [math.nan],
    )


def spread(values, digits):
    if any(math.isnan(value) for value in values):
        return "-"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def difference(runs, baseline):
    """Mean of the differences seed by seed, with its 95 % interval."""
    of_seed = {run.seed: run.bits for run in baseline}
    pairs = [run.bits - of_seed[run.seed] for run in runs if run.seed in of_seed]
    if not pairs:
        return ""
    mean = statistics.mean(pairs)
    if len(pairs) < 2 or len(pairs) - 1 not in STUDENT:
        return f"{mean:+.4f}"
    half = STUDENT[len(pairs) - 1] * statistics.stdev(pairs) / math.sqrt(len(pairs))
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


def print_group(group, runs, baseline):
    """`baseline`: the runs of top_k that are compared with where the group has none."""
    by_router = {}
    for run in runs:
        by_router.setdefault(run.router, []).append(run)
    baseline = by_router.get(BASELINE, baseline)
    least = min(run.total_flops for run in runs)
    print(f"\n### {group}\n")
    print("| router | seeds | bits per byte | difference from top_k | k in training | k on the text | tokens/s "
          "| TFLOP | loss at the least TFLOP | fullest / mean - 1 | dead experts |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for router, of_router in by_router.items():
        cells = [
            router,
            str(len(of_router)),
            spread([r.bits for r in of_router], 4),
            "" if router == BASELINE else difference(of_router, baseline),
            spread([r.k for r in of_router], 2),
            spread([r.k_text for r in of_router], 2),
            f"{statistics.median(r.tokens_per_second for r in of_router):,.0f}",
            spread([r.total_flops / 1e12 for r in of_router], 1),
            spread([r.loss_at(least) for r in of_router], 4),
            spread([r.violation for r in of_router], 2),
            str(max(r.dead for r in of_router)),
        ]
        print("| " + " | ".join(cells) + " |")


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    files = sorted(pathlib.Path(sys.argv[1]).glob("*-seed*.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise SystemExit(f"router_table: no finished run in {sys.argv[1]}")
    groups = {}
    for file in files:
        run = read_run(file)
        groups.setdefault(run.group, []).append(run)
    for group, runs in groups.items():
        same_text = [run for run in groups.get("experts8", []) if run.router == BASELINE]
        print_group(group, runs, same_text if group == "budgets8" else [])


if __name__ == "__main__":
    main()
