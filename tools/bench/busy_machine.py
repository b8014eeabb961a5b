#!/usr/bin/env python3
"""Training beside one busy loop per core: tokens/s by the way in which OpenMP's threads wait.

    tools/bench/busy_machine.py DATA [--config FILE]... [--rounds N] [--steps N] [--beside PROGRAM]

DATA: folder written by `switchyard prepare`. Every round runs each setting once on the idle machine
and once beside the loops, so that drift of the machine falls on all alike; the table shows medians
over the rounds and, in brackets, the ratio to the best setting of the same column. SWITCHYARD names
the program (default: build/release/switchyard); the default setting of another build of it is
measured in the same rounds with --beside. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = {
    "default: chosen by how long threads wait for cores": {},
    "always spinning (OpenMP's default, 300,000 rounds)": {"GOMP_SPINCOUNT": "300000"},
    "spinning briefly (`GOMP_SPINCOUNT=10000`)": {"GOMP_SPINCOUNT": "10000"},
    "`OMP_WAIT_POLICY=PASSIVE`": {"OMP_WAIT_POLICY": "PASSIVE"},
    "`OMP_NUM_THREADS=1`": {"OMP_NUM_THREADS": "1"},
}


def tokens_per_second(metrics):
    """Over the second half of the records: tokens, divided by the time they took."""
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    records = [r for r in records if "event" not in r]
    half = records[len(records) // 2 :]
    previous = records[len(records) // 2 - 1]["tokens"]
    tokens = seconds = 0.0
    for record in half:
        seconds += (record["tokens"] - previous) / record["tokens_per_second"]
        tokens += record["tokens"] - previous
        previous = record["tokens"]
    return tokens / seconds


def precision(config):
    """As tools/quickstart.sh: without bf16 instructions, bf16 is emulated and slower than fp32."""
    has_bf16 = re.search("amx_bf16|avx512_bf16", pathlib.Path("/proc/cpuinfo").read_text())
    return [] if has_bf16 or "precision: bf16" not in config.read_text() else ["train.precision=fp32"]


def measure(program, config, data, steps, setting):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder, "run")
        command = [program, "pretrain", str(config), f"data.path={data}", f"run.dir={run}",
                   f"train.steps={steps}", "schedule.warmup_steps=1", "train.sample_prompt=",
                   "train.log_every=5", "train.evaluate_every=0", "train.checkpoint_every=0",
                   *precision(config)]
        done = subprocess.run(command, env=environment | setting, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"busy_machine: {' '.join(command)}\n{done.stderr}")
        return tokens_per_second(run / "metrics.jsonl")


def busy_loops():
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(len(os.sched_getaffinity(0)))]


def table(program, beside, config, data, steps, rounds):
    runs = {name: (program, setting) for name, setting in SETTINGS.items()}
    if beside:
        runs["default, of the other build"] = (beside, {})
    seen = {(name, load): [] for name in runs for load in ("idle", "busy")}
    for number in range(rounds):
        for load in ("idle", "busy"):
            loops = busy_loops() if load == "busy" else []
            try:
                for name, (of, setting) in runs.items():
                    seen[name, load].append(measure(of, config, data, steps, setting))
                    print(f"{config.stem} round {number + 1} {load} {name}: {seen[name, load][-1]:,.0f}",
                          file=sys.stderr)
            finally:
                for loop in loops:
                    loop.kill()
                    loop.wait()
    medians = {key: statistics.median(values) for key, values in seen.items()}
    best = {load: max(medians[name, load] for name in runs) for load in ("idle", "busy")}
    print(f"\n| {config.stem} | idle, tokens/s | one busy loop per core |\n|---|---|---|")
    for name in runs:
        cells = [f"{medians[name, load]:,.0f} ({medians[name, load] / best[load]:.2f})"
                 for load in ("idle", "busy")]
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--config", action="append", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="default: 100, for tiny.yaml 1000")
    parser.add_argument("--beside", metavar="PROGRAM")
    options = parser.parse_args()
    program = os.environ.get("SWITCHYARD", str(ROOT / "build/release/switchyard"))
    for config in options.config or [ROOT / "configs/quickstart.yaml", ROOT / "configs/tiny.yaml"]:
        steps = options.steps or (1000 if config.stem == "tiny" else 100)
        table(program, options.beside, config, options.data, steps, options.rounds)


if __name__ == "__main__":
    main()
