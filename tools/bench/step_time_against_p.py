#!/usr/bin/env python3
"""Does the time of a training step follow the number of experts that tokens get? Top-P routers with
different thresholds p take steps in turn, in one run; prints a table of p, realised k, milliseconds,
and the time and the arithmetic (6 x activated parameters) relative to top_k with k = 2.

    tools/bench/step_time_against_p.py [--shape a|b] [--precision fp32|bf16] [--rounds N] [--p P ...]

Needs train_step_benchmark: cmake --preset release -DSWITCHYARD_BENCHMARKS=ON, then
cmake --build build/release --target train_step_benchmark. OMP_NUM_THREADS sets the threads. The
models are untrained, so that k is close to p times the number of experts.
"""

import argparse
import os
import pathlib

from contestant import SHAPES, switchyard, take_turns

PROGRAM = pathlib.Path(__file__).parents[2] / "build/release/src/train_step_benchmark"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(PROGRAM))
    parser.add_argument("--shape", default="b", choices=SHAPES)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--p", type=float, nargs="+", default=[0.1, 0.2, 0.4, 0.6, 0.8])
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    shape = SHAPES[options.shape]

    def contestant(name, router):
        return switchyard(name, options.program, shape, options.precision, router=router)

    top_k = contestant("top_k, k = 2", "{type: top_k, k: 2}")
    contestants = [top_k]
    contestants += [contestant(f"top_p, p = {p}", f"{{type: top_p, p: {p}}}") for p in options.p]
    take_turns(contestants, 2, options.rounds)
    print(
        f"Shape {options.shape}: {shape}; {options.precision}, {os.environ['OMP_NUM_THREADS']} threads, "
        f"medians of {options.rounds} steps\n"
    )
    print("| router | k | ms | time / top_k | arithmetic / top_k | routing, dispatch, combine, statistics |")
    print("|---|---|---|---|---|---|")
    for one in contestants:
        print(
            f"| {one.name} | {one.median('k'):.2f} | {1e3 * one.median('seconds'):.0f} "
            f"| {one.median('seconds') / top_k.median('seconds'):.2f} "
            f"| {one.median('activated') / top_k.median('activated'):.2f} "
            f"| {100 * one.routing_share():.1f} % |"
        )
        one.close()


if __name__ == "__main__":
    main()
