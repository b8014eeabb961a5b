#!/usr/bin/env python3
"""Do harder tokens get more experts? A Markdown table and a figure from evaluations.

    switchyard evaluate RUN --text FILE --json > NAME.json
    tools/bench/token_difficulty.py NAME.json... [--svg FIGURE.svg] [--label TEXT...]

Of several files the tables follow each other and the figure has a panel for each; --label names them
in the place of their files' names, in the same order. The numbers are those of the `difficulty` in
the evaluation (docs/routers.md); nothing is computed here. An evaluation of a router that gives all
tokens as many experts has none and is left out: OUTPUT/experts8-*-seed1.json of compare_routers.sh
may be given as they are.
"""

import argparse
import html
import json
import pathlib
import sys

LEFT, TOP, WIDTH, HEIGHT, GAP = 52, 46, 300, 200, 40  # of a panel, in pixels
COLORS = ["#2166ac", "#b2531f", "#2f7d4f", "#7a4fa3", "#8a6d1f", "#1f7d86"]


def read(path):
    """None where all tokens got as many experts."""
    try:
        evaluation = json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"token_difficulty: {path}: {error}")
    return evaluation.get("difficulty")


def span(group):
    if group["to"] is None:
        return f"{group['from']:.0f} and later"
    if group["from"] == group["to"]:
        return f"{group['from']:.0f}"
    return f"{group['from']:.0f} to {group['to']:.0f}"


def signed(value):
    return "-" if value is None else f"{value:+.2f}"


def print_table(label, difficulty):
    layers = [entry["layer"] for entry in difficulty["layers"]]
    print(f"\n### {label}\n")
    print("| correlation of experts with | all layers | " + " | ".join(f"layer {layer}" for layer in layers) + " |")
    print("|---" * (2 + len(layers)) + "|")
    columns = [difficulty["correlation"]] + [entry["correlation"] for entry in difficulty["layers"]]
    for name, which in (("the loss of the next token", "with_loss"), ("the loss of the token itself", "with_input_loss")):
        for kind in ("spearman", "pearson"):
            print(f"| {name}, {kind.capitalize()} | " + " | ".join(signed(c[which][kind]) for c in columns) + " |")
    names = " | ".join(f"k, layer {layer}" for layer in layers)
    print(f"\n| tokens | share | loss | {names} | correlation among them, Pearson |")
    print("|---" * (4 + len(layers)) + "|")
    sections = (
        ("by_loss", lambda group: f"loss {group['from']:.2f} to {group['to']:.2f}"),
        ("by_word_position", lambda group: f"piece {span(group)} of a word"),
        ("by_frequency", lambda group: f"piece that occurs {span(group)} times"),
    )
    for key, name_of in sections:
        num = sum(group["tokens"] for group in difficulty[key])
        for group in difficulty[key]:
            experts = " | ".join(f"{k:.2f}" for k in group["experts_per_token"])
            among = "" if group["pearson"] is None else f"{group['pearson']:+.2f}"
            share = f"{100 * group['tokens'] / num:.0f} %"
            print(f"| {name_of(group)} | {share} | {group['loss']:.2f} | {experts} | {among} |")


def ticks(top):
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if top / s <= 6)
    return [i * step for i in range(int(top / step + 1e-9) + 1)]


def panel(x, label, difficulty):
    groups = difficulty["by_loss"]
    layers = difficulty["layers"]
    top = 1.05 * max(max(group["experts_per_token"]) for group in groups)
    place_x = lambda i: x + WIDTH * (i / max(1, len(groups) - 1))
    place_y = lambda k: TOP + HEIGHT * (1 - k / top)
    parts = [f'<text x="{x}" y="{TOP - 28}" class="title">{html.escape(label)}</text>']
    for k in ticks(top):
        y = place_y(k)
        parts.append(f'<path class="grid" d="M{x} {y:.1f}h{WIDTH}"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4:.1f}" text-anchor="end">{k:g}</text>')
    for i, group in enumerate(groups):
        if i % 3 == 0 or i == len(groups) - 1:
            text = f"{group['loss']:.2f}"
            parts.append(f'<text x="{place_x(i):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{text}</text>')
    for number, entry in enumerate(layers):
        color = COLORS[number % len(COLORS)]
        points = [(place_x(i), place_y(group["experts_per_token"][number])) for i, group in enumerate(groups)]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        parts.append(f'<path class="line" stroke="{color}" d="M{path}"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" style="fill:{color}"/>' for px, py in points]
        rho = signed(entry["correlation"]["with_loss"]["spearman"])
        text = f"layer {entry['layer']} ({rho})"
        parts.append(f'<text x="{x + 110 * (number % 3)}" y="{TOP - 10 + 13 * (number // 3)}" style="fill:{color}">{text}</text>')
    return "".join(parts)


def figure(named):
    width = LEFT + len(named) * (WIDTH + GAP) + 10
    height = TOP + HEIGHT + 48
    style = (
        "text{font:12px sans-serif;fill:#555}.title{font-weight:bold;fill:#222}"
        ".grid{stroke:#ddd}.line{fill:none;stroke-width:2}"
    )
    panels = "".join(panel(LEFT + i * (WIDTH + GAP), label, d) for i, (label, d) in enumerate(named))
    caption = "mean loss of each tenth of the tokens, nats; lines: experts per token (rank correlation)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="Do harder tokens get more experts?"><style>{style}</style>'
        f'<rect width="{width}" height="{height}" style="fill:#fff"/>'
        + panels
        + f'<text x="{LEFT}" y="{height - 8}">{caption}</text></svg>\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="+")
    parser.add_argument("--svg", metavar="FIGURE.svg")
    parser.add_argument("--label", nargs="+", default=[])
    arguments = parser.parse_args()
    if len(arguments.label) not in (0, len(arguments.file)):
        parser.error(f"{len(arguments.label)} labels for {len(arguments.file)} files")
    labels = arguments.label or [pathlib.Path(path).stem for path in arguments.file]
    named = [(label, read(path)) for label, path in zip(labels, arguments.file)]
    for label, difficulty in named:
        if difficulty is None:
            print(f"token_difficulty: {label}: every token got as many experts; left out", file=sys.stderr)
    named = [(label, difficulty) for label, difficulty in named if difficulty is not None]
    if not named:
        raise SystemExit("token_difficulty: no evaluation by `switchyard evaluate ... --json` has a `difficulty`")
    for label, difficulty in named:
        print_table(label, difficulty)
    if arguments.svg:
        pathlib.Path(arguments.svg).write_text(figure(named))
        print(f"token_difficulty: {arguments.svg}", file=sys.stderr)


if __name__ == "__main__":
    main()
