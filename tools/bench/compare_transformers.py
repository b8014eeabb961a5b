"""Times training steps of Switchyard and of Hugging Face's Mixtral in turn, on the same shapes.

Run by compare_transformers.sh, which makes the environment. Every contestant is a process that
takes one step when it is told to; the driver goes round them in a new random order each round, so
that what else happens on the machine hits all alike. As a contestant itself (`peer ...`) this file
is the Mixtral side.
"""

import argparse
import json
import os
import sys
import time

from contestant import BALANCE, CLIP_NORM, LEARNING_RATE, SHAPES, Contestant, switchyard, take_turns


# ---------------------------------------------------------------- the peer


def peer(shape, precision):
    """precision: fp32, bf16 (weights, gradients and moments in bf16) or autocast (fp32 weights)."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    config = MixtralConfig(
        vocab_size=shape["vocab"],
        hidden_size=shape["hidden"],
        intermediate_size=shape["expert"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"],
        num_local_experts=shape["experts"],
        num_experts_per_tok=shape["k"],
        max_position_embeddings=shape["length"],
        sliding_window=None,
        output_router_logits=True,
        router_aux_loss_coef=BALANCE,
        use_cache=False,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    model = MixtralForCausalLM(config)
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    tokens = torch.randint(shape["vocab"], (64, shape["batch"], shape["length"]))
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters}), flush=True)
    for step, _ in enumerate(sys.stdin):
        batch = tokens[step % 64]
        start, cpu_start = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": value}), flush=True)


# ---------------------------------------------------------------- the driver


def mixtral(shape_name, precision):
    command = [sys.executable, os.path.abspath(__file__), "peer", shape_name, precision]
    names = {"fp32": "Mixtral fp32", "bf16": "Mixtral bf16, pure", "autocast": "Mixtral bf16, autocast"}
    return Contestant(names[precision], command, dict(os.environ))


STATE = {
    "switchyard fp32": "fp32",
    "switchyard bf16": "fp32 masters, gradients and moments",
    "Mixtral fp32": "fp32",
    "Mixtral bf16, pure": "bf16 weights, gradients and moments",
    "Mixtral bf16, autocast": "fp32 weights, gradients and moments",
}


def compare(shape_name, options):
    shape = SHAPES[shape_name]
    tokens = shape["batch"] * shape["length"]
    contestants = []
    for precision in options.precision:
        contestants.append(switchyard(f"switchyard {precision}", options.program, shape, precision, options.override))
        if not options.alone:
            peers = ["fp32"] if precision == "fp32" else ["bf16", "autocast"]
            contestants += [mixtral(shape_name, p) for p in peers]
    take_turns(contestants, options.warmup, options.rounds)
    activated = contestants[0].steps[-1]["activated"]
    print(f"\nShape {shape_name}: {shape}")
    print(
        f"{contestants[0].about['parameters'] / 1e6:.1f} M parameters, {activated / 1e6:.2f} M activated, "
        f"{tokens} tokens a step; medians of {options.rounds} steps, "
        f"{os.environ['OMP_NUM_THREADS']} threads, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| | optimizer state | ms | best ms | processor ms | tokens/s | GFLOP/s | ratio | processor ratio | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for precision in options.precision:
        own = next(c for c in contestants if c.name == f"switchyard {precision}")
        group = [c for c in contestants if precision in c.name]
        for contestant in group:
            seconds, cpu_seconds = contestant.median("seconds"), contestant.median("cpu_seconds")
            best = min(step["seconds"] for step in contestant.steps)
            rate = tokens / seconds
            print(
                f"| {contestant.name} | {STATE[contestant.name]} | {1e3 * seconds:.1f} | {1e3 * best:.1f} "
                f"| {1e3 * cpu_seconds:.1f} | {rate:,.0f} | {6e-9 * activated * rate:.1f} "
                f"| {seconds / own.median('seconds'):.2f} | {cpu_seconds / own.median('cpu_seconds'):.2f} "
                f"| {contestant.peak_bytes() / 1e6:,.0f} |"
            )
        phases = [f"{name} {1e3 * own.median(name):.1f} ms" for name in ("forward", "backward", "clip", "update")]
        print(f"\n{own.name}: " + ", ".join(phases) + f"; routing, dispatch, combine and statistics "
              f"{100 * own.routing_share():.1f} %\n")
    for contestant in contestants:
        contestant.close()


def main():
    if sys.argv[1:2] == ["peer"]:
        peer(SHAPES[sys.argv[2]], sys.argv[3])
        return
    parser = argparse.ArgumentParser(description="Training steps of Switchyard and Mixtral in turn.")
    parser.add_argument("--program", required=True, help="train_step_benchmark")
    parser.add_argument("--shape", nargs="+", default=["a", "b"], choices=SHAPES)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without the peer")
    parser.add_argument("--override", nargs="*", default=[], help="config keys for Switchyard")
    options = parser.parse_args()
    for shape_name in options.shape:
        compare(shape_name, options)


if __name__ == "__main__":
    main()
