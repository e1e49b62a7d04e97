"""Alternating steps of generator and discriminator in PyTorch, for gan_parity.rs to repeat.

    pip install torch && python3 tests/oracle/gan_steps.py

rewrites gan_steps.json beside this file. As train_steps.py, from which it has pictures, first weights and
first codes: every case runs in float32 and in float64, and the difference is the noise that a correct
implementation may have. In each step both sides learn from the same reconstructions. The curves have kinks
(leaky ReLUs, absolute values, the hinge), and a value that noise moves across one moves an adaptive weight by
up to 1e-3: the seeds are some at which none does.
"""

import copy
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from train_steps import SplitMix, fill, parameters, place_codes, kept_tensors
from models import Codebook, Residual, VqVae, conv, perplexity, relu, transposed

HERE = Path(__file__).resolve().parent
STEPS, BATCH, SIDE, CODES, DIM = 10, 4, 32, 8, 4
LR, WARMUP = 1e-3, 20
BETAS = (0.5, 0.9)
LECAM, DECAY = 0.05, 0.9
# Name to seed and what differs.
CASES = {
    "hinge": (9, {"norm": "batch", "adaptive": True, "weight": 0.8, "features": 0.0}),
    "nonsaturating": (5, {"norm": "none", "adaptive": True, "weight": 0.8, "features": 0.5}),
    "vanilla": (6, {"norm": "batch", "adaptive": False, "weight": 0.1, "features": 0.0}),
}


def generator():
    inner = Residual(conv(16, 8), relu(), conv(8, 16, 1), relu=True)
    encoder = nn.Sequential(nn.PixelUnshuffle(2), conv(12, 16, 4, 2), relu(), inner, conv(16, DIM, 1))
    decoder = nn.Sequential(
        conv(DIM, 16), relu(), transposed(16, 8), relu(), conv(8, 12), nn.PixelShuffle(2)
    )
    return VqVae(encoder, Codebook(CODES, DIM), decoder)


class Discriminator(nn.Module):
    """A PatchGAN of two layers that halve the map."""

    def __init__(self, norm, channels=8, layers=2):
        super().__init__()
        stages, c = [], 3
        for i in range(layers + 1):
            batch = i > 0 and norm == "batch"
            out = channels << min(i, 3)
            parts = [nn.Conv2d(c, out, 4, 2 if i < layers else 1, 1, bias=not batch)]
            parts += [nn.BatchNorm2d(out)] if batch else []
            stages.append(nn.Sequential(*parts, nn.LeakyReLU(0.2)))
            c = out
        self.stages = nn.ModuleList(stages)
        self.last = nn.Conv2d(c, 1, 4, 1, 1)

    def forward(self, x):
        """Logits, and the features of every stage."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.last(x), features


def of_real(kind, logits):
    """Half the discriminator's loss; of reconstructions with the sign changed."""
    return 0.5 * (F.relu(1 - logits) if kind == "hinge" else F.softplus(-logits)).mean()


def of_generator(kind, logits):
    return F.softplus(-logits).mean() if kind == "nonsaturating" else -logits.mean()


def step(kind, how, nets, adams, x, averages):
    model, critic = nets
    y, commitment, z, chosen = model(x)
    real, targets = critic(x)
    fake, features = critic(y)
    rec = (y - x).abs().mean()
    if how["features"] > 0:
        pairs = zip(targets, features)
        rec = rec + how["features"] * sum((b - a.detach()).abs().mean() for a, b in pairs)
    g = of_generator(kind, fake)
    weight = torch.tensor(how["weight"], dtype=x.dtype)
    if how["adaptive"]:
        last = model.decoder[-2].weight
        norms = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (rec, g)]
        weight = weight * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4)
    weight = weight.detach()
    loss = rec + weight * g + 0.25 * commitment
    of_model = torch.autograd.grad(loss, list(model.parameters()))
    fake = critic(y.detach())[0]
    d = of_real(kind, real) + of_real(kind, -fake)
    means = (real.mean().item(), fake.mean().item())
    if not averages:
        averages.extend(means)
    lecam = F.relu(real - averages[1]).square().mean() + F.relu(averages[0] - fake).square().mean()
    of_critic = torch.autograd.grad(d + LECAM * lecam, list(critic.parameters()))
    averages[:] = [DECAY * a + (1 - DECAY) * b for a, b in zip(averages, means)]
    for net, adam, grads in zip(nets, adams, (of_model, of_critic)):
        for p, grad in zip(net.parameters(), grads):
            p.grad = grad
        adam.step()
    figures = {"loss": loss, "g": g, "weight": weight, "d": d}
    figures = {key: value.item() for key, value in figures.items()}
    figures |= {"real": means[0], "fake": means[1], "perplexity": perplexity(chosen)}
    return figures, z, chosen


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
        values, z, chosen = step(kind, how, nets, adams, x, averages)
        model.codebook.update(z, chosen)
        figures.append(values)
        choices.append(chosen)
    return figures, torch.stack(choices)


def case(kind, seed, how):
    random = SplitMix(seed)
    nets = (generator(), Discriminator(how["norm"]))
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
        "how": how,
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
