"""Whole training curves of PyTorch and of `vq` on the same batches, and a table of both.

    python3 benches/peers/curves.py --data cifar-10-batches-bin --out runs/curves

Four trainings of sonnet-cifar10, the first three at Adam's constant rate of 1e-3 and without clipping:

    vq        ours, from PyTorch's first weights and codes, which are not restarted
    torch     PyTorch's, from the same
    quantizer ours, from first weights of its own, with the quantiser as it is by default: codes placed by
              k-means and restarted, and latents of few channels
    defaults  the same with the optimiser as it is by default: warm-up, a cosine down to 1e-5, and clipping

With --only they can be run one at a time, into the same folder. It receives each one's figures as
PART.csv, a line a step, and curves.csv, means over every EVERY steps; curves.png too where there is
matplotlib.
"""

import argparse
import csv
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from cargo import built
from models import minimise, perplexity, sonnet_cifar10

PARTS = ("vq", "torch", "quantizer", "defaults")
FIGURES = ("nmse", "perplexity")
# Steps of a point of a curve.
EVERY = 10
# Steps that a figure of the table is the mean of.
SMOOTH = 50
# Steps of the table's rows.
SHOWN = (100, 250, 500, 1000, 1500, 2000)


def place_start(path, seed):
    """First weights as PyTorch draws them; codes as Sonnet's example does, uniform with a variance of 1 / D."""
    torch.manual_seed(seed)
    model = sonnet_cifar10()
    table = model.codebook.table
    limit = math.sqrt(3 / table.shape[1])
    model.codebook.place(torch.empty_like(table).uniform_(-limit, limit))
    save_file(model.state_dict(), path)


def ours(program, *task):
    """The figures of each of our steps."""
    with subprocess.Popen([*program, *task], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            report = json.loads(line)
            yield [report[name] for name in FIGURES]
    if process.returncode:
        sys.exit(process.returncode)


def batches(program):
    """The variance of the pictures' values, then batch after batch as the network sees it, NCHW."""
    with subprocess.Popen([*program, "batches"], stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        if not line:
            sys.exit(1)  # It has said why.
        first = json.loads(line)
        yield first["variance"]
        size = math.prod(first["shape"])
        while len(values := process.stdout.read(size)) == size:
            x = torch.from_numpy(np.frombuffer(values, np.uint8).astype(np.float32))
            x = (x - 128) / 128
            yield x.view(first["shape"]).permute(0, 3, 1, 2).contiguous()
    if process.returncode:
        sys.exit(process.returncode)


def theirs(program, start):
    """The figures of each of PyTorch's steps."""
    model = sonnet_cifar10()
    model.load_state_dict(load_file(start))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    stream = batches(program)
    variance = next(stream)
    for x in stream:
        figures, z, chosen = minimise(model, adam, x, variance)
        model.codebook.update(z, chosen)
        yield figures["mse"] / variance, perplexity(chosen)


def record(part, figures, out):
    """Writes each step's figures as they come."""
    begin = time.monotonic()
    with (out / f"{part}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("step", *FIGURES))
        for step, values in enumerate(figures, 1):
            rows.writerow((step, *(f"{value:.8g}" for value in values)))
            if step % 100 == 0:
                file.flush()
                spent = time.monotonic() - begin
                print(f"{part}: step {step}, nmse {values[0]:.4f}, {spent:.0f} s", file=sys.stderr)


def points(part, out, steps):
    """Means over every EVERY steps, [points, figures]; None if the part has not been run to its end."""
    path = out / f"{part}.csv"
    rows = list(csv.reader(path.open()))[1:] if path.exists() else []
    if len(rows) < steps:
        return None
    values = np.array(rows[:steps], float)[:, 1:]
    return values[: steps // EVERY * EVERY].reshape(-1, EVERY, len(FIGURES)).mean(1)


def write_curves(curves, path):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step"] + [f"{part}_{figure}" for part in curves for figure in FIGURES])
        for i, values in enumerate(zip(*curves.values()), 1):
            rows.writerow([i * EVERY] + [f"{value:.6g}" for part in values for value in part])


def print_table(curves, steps):
    """NMSE of each training, beside PyTorch's."""
    vq, theirs, *others = (curves[part][:, 0] for part in PARTS)
    print("| step | PyTorch | vq | quantizer | defaults |")
    print("|---|---|---|---|---|")
    for step in [step for step in SHOWN if step <= steps] or [len(vq) * EVERY]:
        row = slice(max(0, step - SMOOTH) // EVERY, step // EVERY)
        peer, *ours = (curve[row].mean() for curve in (theirs, vq, *others))
        cells = [f"{peer:.4f}"] + [f"{x:.4f} ({x / peer - 1:+.1%})" for x in ours]
        print(f"| {step} | " + " | ".join(cells) + " |")
    distance = np.abs(vq / theirs - 1)
    print(f"\nvq from PyTorch: median {np.median(distance):.2%} of NMSE, at most {distance.max():.2%}")


def plot(curves, path):
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("agg")
    from matplotlib import pyplot

    _, axes = pyplot.subplots(1, len(FIGURES), figsize=(12, 4.5), layout="constrained")
    for column, (axis, figure) in enumerate(zip(axes, FIGURES)):
        for (part, values), style in zip(curves.items(), ("-", "--", "-", "-")):
            steps = np.arange(1, len(values) + 1) * EVERY
            axis.plot(steps, values[:, column], style, label=part)
        axis.set(xlabel="step", ylabel=figure, yscale="log" if figure == "nmse" else "linear")
    axes[0].legend()
    pyplot.savefig(path, dpi=120)


def settle(args):
    """Makes the folder; its parts must all be of the same settings."""
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "settings.json"
    settings = {name: getattr(args, name) for name in ("steps", "batch", "dim", "seed")}
    settings["data"] = str(args.data.resolve())
    if kept.exists() and json.loads(kept.read_text()) != settings:
        sys.exit(f"{args.out} has curves of other settings: name another --out")
    kept.write_text(json.dumps(settings))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10's binary files")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dim", type=int, default=8, help="channels of the latent in `quantizer` and `defaults`")
    parser.add_argument("--seed", type=int, default=1, help="of PyTorch's first weights and codes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=PARTS)
    args = parser.parse_args()
    if args.steps < EVERY:
        parser.error(f"--steps must be at least {EVERY}")
    torch.set_num_threads(args.threads)
    settle(args)
    options = {name: getattr(args, name) for name in ("data", "steps", "batch", "threads")}
    program = [built("curves"), *(f"--{name}={value}" for name, value in options.items())]
    start = args.out / "start.safetensors"
    if not start.exists():
        place_start(start, args.seed)
    runs = {
        "vq": lambda: ours(program, "plain", start),
        "torch": lambda: theirs(program, start),
        "quantizer": lambda: ours(program, "defaults", f"--dim={args.dim}"),
        "defaults": lambda: ours(program, "defaults", f"--dim={args.dim}", "--optimizer"),
    }
    for part in PARTS if args.only is None else [args.only]:
        record(part, runs[part](), args.out)
    curves = {part: points(part, args.out, args.steps) for part in PARTS}
    missing = [part for part, values in curves.items() if values is None]
    if missing:
        print(f"still to be run: {', '.join(missing)}", file=sys.stderr)
        return
    write_curves(curves, args.out / "curves.csv")
    plot(curves, args.out / "curves.png")
    print_table(curves, args.steps)


main()
