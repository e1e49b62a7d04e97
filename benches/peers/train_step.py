"""Times full training steps in PyTorch, eager, on noise; prints one JSON object.

    python3 benches/peers/train_step.py micro --batch 16 --threads 1 --seconds 10

A step is forward, loss (MSE over the data's variance, plus 0.25 commitment), straight-through backward,
Adam, and the codebook's moving averages. With --adversarial it is a VQ-GAN's: L1 and hinge losses, adaptive
weight, LeCAM, and a step of a PatchGAN of 32 channels as well. Without --layout both memory layouts are tried first and the
faster one is timed.
"""

import argparse
import json
import resource
import statistics
import time

import torch

from models import WORKLOADS, Discriminator, alternate, minimise

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
BLOCKS = 10


def prepare(args, layout):
    """A function that does one step."""
    torch.manual_seed(1)
    build, side = WORKLOADS[args.workload]
    side = args.side or side
    memory = LAYOUTS[layout]
    model = (build(args.hidden) if args.hidden else build()).to(memory_format=memory)
    x = torch.randint(0, 256, (args.batch, 3, side, side)).sub(128).div(128).to(memory_format=memory)
    variance = x.var().item()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    if args.adversarial:
        critic = Discriminator(channels=32).to(memory_format=memory)
        other = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.9), fused=True)
        averages = []

    def step():
        if args.adversarial:
            figures, z, chosen = alternate((model, critic), (adam, other), x, averages)
        else:
            figures, z, chosen = minimise(model, adam, x, variance)
        model.codebook.update(z, chosen)
        return figures["loss"]

    with torch.no_grad():
        dim = model.codebook.table.shape[1]
        z = model.encoder(x).permute(0, 2, 3, 1).reshape(-1, dim)
        model.codebook.place(z[torch.randint(0, len(z), (len(model.codebook.table),))])
    return step


def rates(step, batch, seconds):
    """Images per second in each of BLOCKS blocks that take about `seconds` together."""
    for _ in range(2):
        step()
    found, start = [], time.perf_counter()
    while len(found) < BLOCKS:
        block, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() - block < seconds / BLOCKS:
            loss = step()
            steps += 1
        found.append(steps * batch / (time.perf_counter() - block))
        if len(found) >= 3 and time.perf_counter() - start > 1.5 * seconds:
            break
    assert loss == loss, "the loss is not a number"
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--layout", choices=LAYOUTS)
    parser.add_argument("--side", type=int, help="of the pictures, instead of the workload's")
    parser.add_argument("--hidden", type=int, help="channels of sonnet-cifar10 instead of 128")
    parser.add_argument("--adversarial", action="store_true")
    args = parser.parse_args()
    if args.hidden and args.workload != "sonnet-cifar10":
        parser.error("--hidden is for sonnet-cifar10")
    torch.set_num_threads(args.threads)
    layout = args.layout
    if layout is None:
        def tried(name):
            step = prepare(args, name)
            return max(rates(step, args.batch, args.seconds / 5))

        layout = max(LAYOUTS, key=tried)
    found = rates(prepare(args, layout), args.batch, args.seconds)
    result = {
        "workload": args.workload,
        "batch": args.batch,
        "threads": args.threads,
        "images_per_s": round(statistics.median(found), 2),
        "layout": layout,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "engine": f"torch {torch.__version__}",
    }
    print(json.dumps(result))


main()
