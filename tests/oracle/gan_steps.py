"""Alternating steps of generator and discriminator in PyTorch, for training_parity/gan.rs to repeat.

    pip install torch && python3 tests/oracle/gan_steps.py

rewrites gan_steps.json beside this file. As train_steps.py, from which it has pictures, first weights and
first codes: every case runs in float32 and in float64, and the difference is the noise that a correct
implementation may have. The curves have kinks
(leaky ReLUs, absolute values, the hinge), and a value that noise moves across one moves an adaptive weight by
up to 1e-3: the seeds are some at which none does.
"""

import copy
import json
from pathlib import Path

import torch
from torch import nn

from train_steps import SplitMix, fill, kept_tensors, place_codes
from models import Codebook, Discriminator, Residual, VqVae, alternate, conv, relu, transposed

HERE = Path(__file__).resolve().parent
STEPS, BATCH, SIDE, CODES, DIM = 10, 4, 32, 8, 4
LR, WARMUP = 1e-3, 20
BETAS = (0.5, 0.9)
# Name to seed, normalisation of the discriminator, and what else differs.
CASES = {
    "hinge": (9, "batch", {"adaptive": True, "weight": 0.8, "features": 0.0}),
    "nonsaturating": (5, "none", {"adaptive": True, "weight": 0.8, "features": 0.5}),
    "vanilla": (6, "batch", {"adaptive": False, "weight": 0.1, "features": 0.0}),
}


def generator():
    inner = Residual(conv(16, 8), relu(), conv(8, 16, 1), relu=True)
    encoder = nn.Sequential(nn.PixelUnshuffle(2), conv(12, 16, 4, 2), relu(), inner, conv(16, DIM, 1))
    decoder = nn.Sequential(
        conv(DIM, 16), relu(), transposed(16, 8), relu(), conv(8, 12), nn.PixelShuffle(2)
    )
    return VqVae(encoder, Codebook(CODES, DIM), decoder)


def run(kind, how, nets, batches):
    model, critic = nets
    adams = (
        torch.optim.Adam(model.parameters(), lr=LR),
        torch.optim.Adam(critic.parameters(), lr=LR, betas=BETAS),
    )
    figures, choices, averages = [], [], []
    for t, x in enumerate(batches):
        for adam in adams:
            adam.param_groups[0]["lr"] = LR * (t + 1) / WARMUP
        values, z, chosen = alternate(nets, adams, x, averages, kind=kind, **how)
        model.codebook.update(z, chosen)
        figures.append(values)
        choices.append(chosen)
    return figures, torch.stack(choices)


def case(kind, seed, norm, how):
    random = SplitMix(seed)
    nets = (generator(), Discriminator(norm, channels=8, layers=2))
    fill(nets[0], random)
    fill(nets[1], random)
    batches = [random.pictures(BATCH, SIDE) for _ in range(STEPS)]
    codes = place_codes(nets[0], batches[0])
    exact = tuple(copy.deepcopy(net).double() for net in nets)
    figures, choices = run(kind, how, nets, batches)
    wide_figures, wide_choices = run(kind, how, exact, [x.double() for x in batches])
    assert torch.equal(choices, wide_choices), f"{kind}: seed {seed} has a near tie"
    noise = max(
        abs(a[key] - b[key]) / (abs(b[key]) + 0.01)
        for a, b in zip(figures, wide_figures)
        for key in a
    )
    print(f"{kind}: noise of the figures {noise:.1e}, {wide_figures[-1]}")
    return {
        "name": kind,
        "seed": seed,
        "how": how | {"norm": norm},
        "codes": codes.numpy().tobytes().hex(),
        "steps": wide_figures,
        "tensors": kept_tensors(nets[0], exact[0]),
        "discriminator": kept_tensors(nets[1], exact[1]),
    }


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = [case(name, *settings) for name, settings in CASES.items()]
    fixture = {"source": f"torch {torch.__version__}", "cases": cases}
    # A tensor a line.
    text = json.dumps(fixture, separators=(",", ":")).replace('{"name"', '\n{"name"')
    (HERE / "gan_steps.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
