"""Programs that take one training step when they are told to, so that a driver can alternate them:
what else happens on the machine then hits all alike."""

import json
import os
import random
import statistics
import subprocess
import sys

SHAPES = {
    "a": dict(layers=4, hidden=256, heads=8, expert=704, experts=8, k=2, vocab=4096, batch=8, length=128),
    "b": dict(layers=6, hidden=512, heads=8, expert=1408, experts=8, k=2, vocab=8192, batch=8, length=256),
    # The layers of src/ops/op_benchmark.h's shapes in a decoder, for a GPU.
    "A": dict(layers=8, hidden=1024, heads=16, expert=2816, experts=16, k=2, vocab=32000, batch=8, length=1024),
    "B": dict(layers=4, hidden=2048, heads=32, expert=1024, experts=64, k=8, vocab=32000, batch=8, length=1024),
    "C": dict(layers=8, hidden=1536, heads=24, expert=1024, experts=32, k=2, vocab=32000, batch=8, length=1024),
    # Only to see whether everything runs.
    "tiny": dict(layers=2, hidden=32, heads=2, expert=48, experts=6, k=2, vocab=64, batch=2, length=32),
}
LEARNING_RATE = 1e-4
CLIP_NORM = 1.0
BALANCE = 0.01


class Contestant:
    """A process that reads lines and answers each with one step and a line of JSON about it."""

    def __init__(self, name, command, environment):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.about = self.read()
        self.steps = []

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with status {self.process.wait()}")
        return json.loads(line)

    def step(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.read()

    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def median(self, key):
        return statistics.median(step[key] for step in self.steps)

    def routing_share(self):
        """Of a step: the ops that exist only because tokens are routed, forward and backward."""
        return statistics.median(sum(step["ops"].values()) / step["seconds"] for step in self.steps)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def switchyard(name, program, shape, precision, overrides=(), router=None):
    """train_step_benchmark on a shape; `overrides` are further config keys, `router` is its map of
    options (default: the shape's top_k)."""
    router = router or f"{{type: top_k, k: {shape['k']}}}"
    environment = dict(os.environ)
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "10000")  # as the `switchyard` command does
    command = [
        program,
        f"model.num_layers={shape['layers']}",
        f"model.hidden_size={shape['hidden']}",
        f"model.num_heads={shape['heads']}",
        f"model.vocab_size={shape['vocab']}",
        "model.tie_embeddings=false",
        f"model.moe.num_experts={shape['experts']}",
        f"model.moe.expert_size={shape['expert']}",
        f"model.moe.router={router}",
        f"model.moe.loss.load_balance={BALANCE}",
        f"optim.learning_rate={LEARNING_RATE}",
        f"optim.clip_norm={CLIP_NORM}",
        f"data.sequence_length={shape['length']}",
        f"train.global_batch_size={shape['batch']}",
        f"train.micro_batch_size={shape['batch']}",
        f"train.precision={precision}",
        *overrides,
    ]
    return Contestant(name, command, environment)


def take_turns(contestants, warmup, rounds):
    """Steps of all, in a new random order each round; those after the warm-up are kept."""
    for _ in range(warmup):
        for contestant in contestants:
            contestant.step()
    order = list(contestants)
    for _ in range(rounds):
        random.shuffle(order)
        for contestant in order:
            contestant.steps.append(contestant.step())
