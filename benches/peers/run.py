"""Runs PyTorch and `vq` in turn on the same training steps, and prints a table of images per second.

    python3 benches/peers/run.py --rounds 5 --seconds 10
    python3 benches/peers/run.py --scale --rounds 3 --seconds 4

Each measurement is a process of its own. The ratio is the median over the rounds of ours / PyTorch, each
pair measured back to back, so that a machine whose speed drifts favours neither.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from cargo import ROOT, built
from table import cpu, print_row

HERE = Path(__file__).resolve().parent
WORKLOADS = [("sonnet-cifar10", 32), ("sonnet-cifar10", 256), ("micro", 16), ("vqgan-64", 16)]
# Those that are timed with a discriminator, too.
ADVERSARIAL = {"micro", "vqgan-64"}
# For the table of scale: one thing at a time is changed of this step of sonnet-cifar10.
SCALED = "sonnet-cifar10"
USUAL = {"batch": 32, "side": 32, "hidden": 128}
SCALES = {"batch": [1, 8, 32, 128, 512], "side": [16, 32, 64, 128], "hidden": [32, 64, 128, 256]}


def measured(program, setting):
    options = [f"--{name}" if value is True else f"--{name}={value}" for name, value in setting.items()]
    done = subprocess.run(program + options, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def compare(binary, workload, setting, rounds):
    """(PyTorch's result, ours) of each round; who goes first alternates."""
    ours = [str(binary), str(ROOT / "configs" / f"{workload}.toml")]
    theirs = [sys.executable, str(HERE / "train_step.py"), workload]
    pairs = []
    for i in range(rounds):
        order = [theirs, ours] if i % 2 == 0 else [ours, theirs]
        results = [measured(program, setting) for program in order]
        pairs.append(results if i % 2 == 0 else results[::-1])
    return pairs


def rates(pairs):
    """Images per second of PyTorch and of vq, and their ratio."""
    theirs, ours = (statistics.median(r["images_per_s"] for r in side) for side in zip(*pairs))
    ratios = sorted(b["images_per_s"] / a["images_per_s"] for a, b in pairs)
    ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    return f"{theirs:.1f}", f"{ours:.1f}", ratio


def compare_workloads(args, binary):
    print_row("workload", "batch", "threads", "PyTorch images/s", "layout", "vq images/s", "vq / PyTorch")
    print("|---|---|---|---|---|---|---|")
    workloads = [(*workload, {}) for workload in WORKLOADS]
    workloads += [(*workload, {"adversarial": True}) for workload in WORKLOADS if workload[0] in ADVERSARIAL]
    for workload, batch, more in workloads:
        if args.only not in (None, workload) or (args.adversarial and not more):
            continue
        for threads in args.threads:
            setting = {"batch": batch, "threads": threads, "seconds": args.seconds} | more
            pairs = compare(binary, workload, setting, args.rounds)
            layouts = "/".join(sorted({a["layout"] for a, _ in pairs}))
            theirs, ours, ratio = rates(pairs)
            name = " ".join((workload, *more))
            print_row(name, batch, threads, theirs, layouts, ours, ratio)


def compare_scales(args, binary):
    """One table for all numbers of threads; memory is the process's, libraries included."""
    print_row("batch", "picture", "channels", "threads", "PyTorch images/s", "vq images/s", "vq / PyTorch",
              "PyTorch MiB", "vq MiB")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    usual = [USUAL] + [
        USUAL | {name: value}
        for name, values in SCALES.items()
        for value in values
        if value != USUAL[name]
    ]
    for step in usual:
        for threads in args.threads:
            setting = step | {"threads": threads, "seconds": args.seconds}
            pairs = compare(binary, SCALED, setting, args.rounds)
            memory = (max(r["peak_mib"] for r in side) for side in zip(*pairs))
            size = f"{step['side']}x{step['side']}"
            print_row(step["batch"], size, step["hidden"], threads, *rates(pairs), *memory)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--adversarial", action="store_true", help="only steps with a discriminator")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", choices=sorted({name for name, _ in WORKLOADS}))
    which.add_argument("--scale", action="store_true", help="batches, sizes and widths of one workload")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    binary = built("train-step")
    if load > 0.5:
        print(f"the machine is busy (load {load:.1f}): the table will mislead", file=sys.stderr)
    print(f"{cpu()}; {datetime.date.today()}; {args.rounds} rounds of {args.seconds:g} s; load {load:.1f}\n")
    table = compare_scales if args.scale else compare_workloads
    table(args, binary)


main()
