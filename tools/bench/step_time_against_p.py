#!/usr/bin/env python3
"""Does the time of a training step follow the number of experts that tokens get? Top-P routers with
different thresholds p take steps in turn, in one run; prints a table of p, realised k, milliseconds,
and the time and the arithmetic (6 x activated parameters) relative to top_k.

    tools/bench/step_time_against_p.py [--shape NAME] [--precision fp32|bf16] [--rounds N] [--p P ...]

Needs train_step_benchmark: cmake --preset release -DSWITCHYARD_BENCHMARKS=ON, then
cmake --build build/release --target train_step_benchmark. OMP_NUM_THREADS sets the threads. The
models are untrained, so that k is close to p times the number of experts.
"""

import argparse
import os
import pathlib

from contestant import SHAPES, switchyard, take_turns

PROGRAM = pathlib.Path(__file__).parents[2] / "build/release/src/train_step_benchmark"
THRESHOLDS = [0.1, 0.2, 0.4, 0.6, 0.8]


def measure(program, shape_name, precision, rounds, thresholds=THRESHOLDS, overrides=(), in_pairs=False):
    """One dictionary per router: top_k first, then top_p at each threshold. `in_pairs`: each
    threshold beside a top_k of its own, instead of all models in memory at once."""
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    if in_pairs:
        rows = []
        for p in thresholds:
            pair = measure(program, shape_name, precision, rounds, [p], overrides)
            rows += pair[1:] if rows else pair
        return rows
    shape = SHAPES[shape_name]

    def contestant(name, router):
        return switchyard(name, program, shape, precision, overrides, router)

    top_k = contestant(f"top_k, k = {shape['k']}", f"{{type: top_k, k: {shape['k']}}}")
    contestants = [top_k]
    contestants += [contestant(f"top_p, p = {p}", f"{{type: top_p, p: {p}}}") for p in thresholds]
    take_turns(contestants, 2, rounds)
    rows = []
    for one in contestants:
        seconds = one.median("seconds")
        rows.append(
            dict(
                shape=shape_name,
                router=one.name,
                k=one.median("k"),
                seconds=seconds,
                tokens_per_second=one.about["tokens"] / seconds,
                flops_per_second=6 * one.median("activated") * one.about["tokens"] / seconds,
                relative_time=seconds / top_k.median("seconds"),
                relative_arithmetic=one.median("activated") / top_k.median("activated"),
                routing_share=one.routing_share(),
            )
        )
        one.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(PROGRAM))
    parser.add_argument("--shape", default="b", choices=SHAPES)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--p", type=float, nargs="+", default=THRESHOLDS)
    options = parser.parse_args()
    rows = measure(options.program, options.shape, options.precision, options.rounds, options.p)
    print(
        f"Shape {options.shape}: {SHAPES[options.shape]}; {options.precision}, "
        f"{os.environ['OMP_NUM_THREADS']} threads, medians of {options.rounds} steps\n"
    )
    print("| router | k | ms | time / top_k | arithmetic / top_k | routing, dispatch, combine, statistics |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['router']} | {row['k']:.2f} | {1e3 * row['seconds']:.0f} | {row['relative_time']:.2f} "
            f"| {row['relative_arithmetic']:.2f} | {100 * row['routing_share']:.1f} % |"
        )


if __name__ == "__main__":
    main()
