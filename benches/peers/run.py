"""Runs PyTorch and `vq` in turn on the same training steps, and prints a table of images per second.

    python3 benches/peers/run.py --rounds 5 --seconds 10

Each measurement is a process of its own. The ratio is the median over the rounds of ours / PyTorch, each
pair measured back to back, so that a machine whose speed drifts favours neither.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from cargo import ROOT, built

HERE = Path(__file__).resolve().parent
WORKLOADS = [("sonnet-cifar10", 32), ("sonnet-cifar10", 256), ("micro", 16), ("taming-64", 16)]


def measured(program, batch, threads, seconds):
    options = [f"--batch={batch}", f"--threads={threads}", f"--seconds={seconds}"]
    done = subprocess.run(program + options, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def compare(ours, theirs, setting, rounds):
    """(PyTorch's result, ours) of each round; who goes first alternates."""
    pairs = []
    for i in range(rounds):
        order = [theirs, ours] if i % 2 == 0 else [ours, theirs]
        results = [measured(program, *setting) for program in order]
        pairs.append(results if i % 2 == 0 else results[::-1])
    return pairs


def cpu():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} logical CPUs" if names else platform.processor()


def row(workload, batch, threads, pairs):
    theirs, ours = (statistics.median(r["images_per_s"] for r in side) for side in zip(*pairs))
    ratios = sorted(b["images_per_s"] / a["images_per_s"] for a, b in pairs)
    layouts = "/".join(sorted({a["layout"] for a, _ in pairs}))
    ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    cells = [workload, batch, threads, f"{theirs:.1f}", layouts, f"{ours:.1f}", ratio]
    return "| " + " | ".join(map(str, cells)) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", help="one workload's name")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    binary = built("train-step")
    if load > 0.5:
        print(f"the machine is busy (load {load:.1f}): the table will mislead", file=sys.stderr)
    print(f"{cpu()}; {datetime.date.today()}; {args.rounds} rounds of {args.seconds:g} s; load {load:.1f}\n")
    print("| workload | batch | threads | PyTorch images/s | layout | vq images/s | vq / PyTorch |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for workload, batch in WORKLOADS:
        config = ROOT / "configs" / f"{workload}.toml"
        if args.only not in (None, workload):
            continue
        if not config.exists():
            print(f"{workload} is skipped: there is no configs/{config.name}", file=sys.stderr)
            continue
        ours = [str(binary), str(config)]
        theirs = [sys.executable, str(HERE / "train_step.py"), workload]
        for threads in args.threads:
            pairs = compare(ours, theirs, (batch, threads, args.seconds), args.rounds)
            print(row(workload, batch, threads, pairs), flush=True)


main()
