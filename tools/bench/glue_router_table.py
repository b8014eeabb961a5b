#!/usr/bin/env python3
"""The table of tools/bench/compare_glue_routers.sh: a line per model, from what its fine-tuning wrote.

    tools/bench/glue_router_table.py OUTPUT

A cell is the median over the seeds that did not diverge, with the least and the most; "-" where all
did.
"""

import json
import pathlib
import statistics
import sys

MODELS = ["top_k_below", "top_k_above", "top_p", "proportional", "ceil"]


def pretraining_of(run):
    """Validation loss and experts per token of the last evaluation."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record.get("event") == "evaluation"][-1]


def metric_of(task):
    """Matthews' correlation where a task has it, else accuracy: the first metric of each task here."""
    for key in ("eval_matthews_correlation", "eval_accuracy", "eval_pearson"):
        if key in task:
            return task[key]
    raise SystemExit(f"glue_router_table: {task['task']} has no metric that is known here")


def cell(task):
    metric = metric_of(task)
    if metric["median"] is None:
        return "-"
    k = statistics.median(value for value in task["experts_per_token"] if value is not None)
    return f"{metric['median']:.3f} ({metric['least']:.3f} to {metric['most']:.3f}), k {k:.2f}"


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    output = pathlib.Path(sys.argv[1])
    results = {}
    for model in MODELS:
        file = output / f"glue-{model}" / "results.json"
        if file.exists():
            results[model] = {task["task"]: task for task in json.loads(file.read_text())}
    if not results:
        raise SystemExit(f"glue_router_table: no results in {output}")
    tasks = list(next(iter(results.values())))
    print("| model | masked-token loss | k in pretraining | " + " | ".join(tasks) + " | mean of medians |")
    print("|" + "---|" * (len(tasks) + 4))
    for model, by_task in results.items():
        pretraining = pretraining_of(output / f"encoder-{model}")
        if missing := [task for task in tasks if task not in by_task]:
            raise SystemExit(f"glue_router_table: {model} has no results of {', '.join(missing)} yet")
        medians = [metric_of(by_task[task])["median"] for task in tasks]
        whole = all(median is not None for median in medians)
        cells = [
            model,
            f"{pretraining['loss']:.3f}",
            f"{pretraining['experts_per_token']:.2f}",
            *(cell(by_task[task]) for task in tasks),
            f"{statistics.mean(medians):.4f}" if whole else "-",
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
