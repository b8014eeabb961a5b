#!/usr/bin/env python3
"""Times the kernels, the MoE layer and whole training steps, beside LibTorch's own operators and the
bounds of the same run, and writes OUTPUT.json and OUTPUT.md.

    tools/bench/moe.py OUTPUT [--device cpu|cuda] [--shape NAME ...] [--steps NAME ...]
                       [--precision bf16|fp32] [--repetitions N] [--seconds S]

Shapes are those of src/ops/op_benchmark.h (default: small on a CPU; A8192 A16384 A32768 B C on a
GPU), steps those of contestant.py (default: none on a CPU; A B C on a GPU). Repetitions of all
benchmarks come in random order, and medians count. Build the programs with
cmake --preset release -DSWITCHYARD_BENCHMARKS=ON && cmake --build build/release --target benchmarks
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import step_time_against_p
from contestant import SHAPES

BUILD = pathlib.Path(__file__).parents[2] / "build/release"
# Microseconds, forward and forward + backward, at which an H100 (790 TFLOP/s, 3.0 TB/s) would do the
# layer if every operand were read once.
FLOOR_US = {"A8192": (337, 1072), "A16384": (674, 2112), "A32768": (1348, 4194), "B": (4627, 13517)}


def run_program(program, options):
    """Google Benchmark's records by name: {name: {column: median}}."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [
            str(program),
            f"--device={options.device}",
            f"--dtype={options.precision}",
            f"--shapes={','.join(options.shape)}",
            f"--benchmark_min_time={options.seconds}",
            f"--benchmark_repetitions={options.repetitions}",
            "--benchmark_enable_random_interleaving=true",
            f"--benchmark_out={file.name}",
            "--benchmark_out_format=json",
        ]
        status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if status != 0:
            sys.exit(f"{' '.join(command)} ended with status {status}")
        records = json.load(open(file.name))["benchmarks"]
    samples = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in records:
        if record["run_type"] != "iteration":
            continue
        name = record["name"].removesuffix("/manual_time")
        samples[name]["us"].append(record["real_time"] / record["calls"])
        for column in ("bytes", "flops", "k", "imbalance"):
            if column in record:
                samples[name][column].append(record[column])
    return {
        name: {column: statistics.median(values) for column, values in columns.items()}
        for name, columns in samples.items()
    }


def results_of(medians):
    """One record per measured thing, with its ratios to the bounds and to LibTorch's operators."""
    copy = medians["bound/copy"]["bytes"]
    matmul = medians["bound/matmul"]["flops"]
    results = []
    for name, median in medians.items():
        what, *place = name.split("/")
        if what == "bound":
            continue
        op, _, implementation = what.partition(":")
        record = dict(op=op, implementation=implementation or "switchyard", shape=place[0])
        if len(place) > 1:
            record["routing"] = place[1]
        record["us"] = median["us"]
        for column in ("k", "imbalance"):
            if column in median:
                record[column] = median[column]
        if "bytes" in median:
            record["bytes_per_second"] = median["bytes"]
            record["of_copy"] = median["bytes"] / copy
        if "flops" in median:
            record["flops_per_second"] = median["flops"]
            record["of_matmul"] = median["flops"] / matmul
        peer = medians.get("/".join([op + ":torch", *place]))
        if peer is not None and implementation not in ("torch", "dense"):
            record["torch_over_ours"] = peer["us"] / median["us"]
        floor = FLOOR_US.get(place[0])
        if floor and op in ("layer_forward", "layer_both_ways") and place[-1] == "top_p":
            record["of_floor"] = floor[op == "layer_both_ways"] / median["us"]
        results.append(record)
    return sorted(results, key=lambda r: (r["shape"], r["op"], r.get("routing", ""), r["implementation"]))


def k_ratios(results):
    """Does the layer's time follow k? `random` (the shape's mean) against `k2`."""
    times = {
        (r["shape"], r["implementation"], r["routing"]): r
        for r in results
        if r["op"] == "layer_both_ways"
    }
    ratios = []
    for (shape, implementation, routing), record in times.items():
        two = times.get((shape, implementation, "k2"))
        if routing == "random" and two is not None and record["k"] < 1.99:
            ratios.append(
                dict(
                    shape=shape,
                    implementation=implementation,
                    k=record["k"],
                    time_over_k2=record["us"] / two["us"],
                    arithmetic_over_k2=record["k"] / two["k"],
                )
            )
    return ratios


def machine(device):
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"{models[0]}, {len(models)} threads" if models else "unknown CPU"


def ratio(record, key):
    return f"{record[key]:.2f}" if key in record else ""


def markdown(report):
    bounds = report["bounds"]
    lines = [
        f"{report['date']}, {report['machine']}, {report['precision']}; `{report['command']}`",
        "",
        f"Bounds, measured beside: copy {bounds['copy_bytes_per_second'] / 1e9:.1f} GB/s (read and written), "
        f"matrix product {bounds['matmul_flops_per_second'] / 1e12:.2f} TFLOP/s. Medians.",
    ]
    memory = [r for r in report["results"] if "of_copy" in r]
    if memory:
        lines += ["", "| op | shape | routing | k | us | GB/s | of copy | torch / ours |", "|---|---|---|---|---|---|---|---|"]
    for r in memory:
        name = r["op"] if r["implementation"] == "switchyard" else f"{r['op']} ({r['implementation']})"
        lines.append(
            f"| {name} | {r['shape']} | {r.get('routing', '')} | {ratio(r, 'k')} | {r['us']:.1f} "
            f"| {r['bytes_per_second'] / 1e9:.1f} | {r['of_copy']:.2f} | {ratio(r, 'torch_over_ours')} |"
        )
    products = [r for r in report["results"] if "of_matmul" in r]
    if products:
        lines += [
            "",
            "| op | implementation | shape | routing | k | fullest / mean | us | TFLOP/s | of matmul | of floor | torch / ours |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
    for r in products:
        lines.append(
            f"| {r['op']} | {r['implementation']} | {r['shape']} | {r.get('routing', '')} | {ratio(r, 'k')} "
            f"| {ratio(r, 'imbalance')} | {r['us']:.0f} | {r['flops_per_second'] / 1e12:.3f} | {r['of_matmul']:.2f} "
            f"| {ratio(r, 'of_floor')} | {ratio(r, 'torch_over_ours')} |"
        )
    if report["k_ratios"]:
        lines += ["", "| layer, both ways | shape | k | time / time at k = 2 | rows / rows at k = 2 |", "|---|---|---|---|---|"]
    for r in report["k_ratios"]:
        lines.append(
            f"| {r['implementation']} | {r['shape']} | {r['k']:.2f} | {r['time_over_k2']:.3f} | {r['arithmetic_over_k2']:.3f} |"
        )
    if report["steps"]:
        lines += [
            "",
            "| step | router | k | ms | tokens/s | TFLOP/s | of matmul | time / top_k | arithmetic / top_k | routing |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
    for r in report["steps"]:
        # On a GPU it would be the time that the host spends on queueing.
        routing = f"{100 * r['routing_share']:.1f} %" if report["device"] == "cpu" else ""
        lines.append(
            f"| {r['shape']} | {r['router']} | {r['k']:.2f} | {1e3 * r['seconds']:.1f} | {r['tokens_per_second']:,.0f} "
            f"| {r['flops_per_second'] / 1e12:.3f} | {r['flops_per_second'] / bounds['matmul_flops_per_second']:.2f} "
            f"| {r['relative_time']:.2f} | {r['relative_arithmetic']:.2f} | {routing} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, help="OUTPUT.json and OUTPUT.md are written")
    parser.add_argument("--build", type=pathlib.Path, default=BUILD)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--shape", nargs="+")
    parser.add_argument("--steps", nargs="*", choices=SHAPES)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each repetition of each benchmark")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.shape = options.shape or (["A8192", "A16384", "A32768", "B", "C"] if on_gpu else ["small"])
    if options.steps is None:
        options.steps = ["A", "B", "C"] if on_gpu else []
    if on_gpu:
        os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

    results = results_of(run_program(options.build / "src/kernel_benchmark", options))
    medians = run_program(options.build / "src/moe_benchmark", options)
    results += results_of(medians)
    report = dict(
        date=datetime.date.today().isoformat(),
        command=" ".join(["tools/bench/moe.py", *sys.argv[1:]]),
        machine=machine(options.device),
        device=options.device,
        precision=options.precision,
        bounds=dict(
            copy_bytes_per_second=medians["bound/copy"]["bytes"],
            matmul_flops_per_second=medians["bound/matmul"]["flops"],
        ),
        results=results,
        k_ratios=k_ratios(results),
        steps=[],
    )
    for shape in options.steps:
        report["steps"] += step_time_against_p.measure(
            str(options.build / "src/train_step_benchmark"),
            shape,
            options.precision,
            options.repetitions,
            overrides=[f"train.device={options.device}"],
            in_pairs=on_gpu,
        )
    for suffix, text in ((".json", json.dumps(report, indent=1) + "\n"), (".md", markdown(report))):
        path = options.output.with_suffix(suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path)


if __name__ == "__main__":
    main()
