"""Whole training steps in PyTorch, for training_parity.rs to repeat.

    pip install torch && python3 tests/oracle/train_steps.py

rewrites train_steps.json beside this file. The networks are those of benches/peers/models.py. Pictures,
first weights and first codes come from splitmix64, which the test repeats bit for bit. The steps run
twice, in float32 and in float64: the difference is the noise that a correct implementation may have. The
seed is one for which no vector lies so near to the border between two codes that noise could move it.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "benches" / "peers"))
from models import WORKLOADS, Codebook, minimise, perplexity  # noqa: E402

VARIANCE = 0.2
# Adam's rate after a linear warm-up over this many steps, without which the latent vectors leave all
# their first codes at once.
LR, WARMUP = 1e-3, 20
# Name to seed, pictures a step, and codes: few where attention lets the vectors drift far, so that none comes
# near the border between two.
CASES = {"sonnet-cifar10": (4, 8, 512), "vqgan-64": (4, 2, 16)}
STEPS = 10
# Pixels on a side of a picture's tiles.
TILE = 8
# First codes are whole multiples of 1 / GRID.
GRID = 64
# Values of a tensor that the fixture keeps, at most.
KEPT = 64


class SplitMix:
    """vq_tests::Random: the same numbers."""

    def __init__(self, seed):
        self.state = np.uint64(seed)

    def bits(self, n):
        with np.errstate(over="ignore"):
            steps = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            z = self.state + steps
            self.state = z[-1]
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def uniform(self, shape, a):
        """float32 in -a..a."""
        real = (self.bits(int(np.prod(shape))) >> np.uint64(40)).astype(np.float32)
        real = real / np.float32(1 << 23) - np.float32(1)
        return (real * np.float32(a)).reshape(shape)

    def pictures(self, n, side):
        """Bytes as the network sees them, NHWC drawn, NCHW returned: tiles of one colour under noise."""
        tiles = self.bits(n * side * side * 3 // TILE**2) % np.uint64(192)
        tiles = tiles.reshape(n, side // TILE, side // TILE, 3).repeat(TILE, 1).repeat(TILE, 2)
        noise = self.bits(n * side * side * 3) % np.uint64(64)
        byte = (tiles + noise.reshape(tiles.shape)).astype(np.float32)
        x = (byte - np.float32(128)) / np.float32(128)
        return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def parameters(model):
    """(name, parameter, from our order of axes to PyTorch's, middle and half range of its first values)."""
    for name, module in model.named_modules():
        axes, middle, fan_in = (0,), 0, 0
        if isinstance(module, torch.nn.Conv2d):
            axes = (3, 2, 0, 1)
            fan_in = module.in_channels * module.kernel_size[0] ** 2
        elif isinstance(module, torch.nn.ConvTranspose2d):
            axes = (0, 3, 1, 2)
            fan_in = module.in_channels * module.kernel_size[0] ** 2 // module.stride[0] ** 2
        elif isinstance(module, (torch.nn.GroupNorm, torch.nn.BatchNorm2d)):
            middle = 1
        else:
            continue
        spread = (3 / fan_in) ** 0.5 if fan_in else 0.05
        yield f"{name}.weight", module.weight, axes, (middle, spread)
        if module.bias is not None:
            yield f"{name}.bias", module.bias, (0,), (0, 0.05)


def ours(tensor, axes):
    """A tensor in our order of axes, flat."""
    return tensor.detach().permute(*np.argsort(axes)).reshape(-1).double().numpy()


def fill(model, random):
    """First weights, drawn in our order of axes."""
    with torch.no_grad():
        for _, p, axes, (middle, spread) in parameters(model):
            shape = [p.shape[axis] for axis in np.argsort(axes)]
            first = np.float32(middle) + random.uniform(shape, spread)
            p.copy_(torch.from_numpy(first).permute(*axes))


def place_codes(model, x):
    """First codes: the latent vectors of a batch, rounded. Returns them as whole numbers [K, D]."""
    codes, dim = model.codebook.table.shape
    with torch.no_grad():
        z = model.encoder(x).permute(0, 2, 3, 1).reshape(-1, dim)
    grid = (z[:: len(z) // codes] * GRID).round().clamp(-128, 127)
    model.codebook.place(grid / GRID)
    return grid.to(torch.int8)


def run(model, batches):
    """(figures of each step, choices of each step, second-best minus best score of each vector)."""
    adam = torch.optim.Adam(model.parameters(), lr=LR)
    figures, choices, margins = [], [], []
    for t, x in enumerate(batches):
        adam.param_groups[0]["lr"] = LR * (t + 1) / WARMUP
        step, z, chosen = minimise(model, adam, x, VARIANCE)
        two = model.codebook.scores(z).topk(2, largest=False).values
        model.codebook.update(z, chosen)
        figures.append(step | {"perplexity": perplexity(chosen)})
        choices.append(chosen)
        margins.append((two[:, 1] - two[:, 0]).double())
    return figures, torch.stack(choices), torch.stack(margins)


def tensors(model):
    found = {name: ours(p, axes) for name, p, axes, _ in parameters(model)}
    if hasattr(model, "codebook"):
        found["codebook"] = model.codebook.table.double().reshape(-1).numpy()
    return found


def kept_tensors(model, exact):
    """What the fixture keeps of a model's tensors, by those of the same one in float64."""
    kept, wide = [], tensors(exact)
    for key, values in tensors(model).items():
        rms = np.sqrt(np.mean(wide[key] ** 2))
        floor = np.abs(values - wide[key]) / rms
        every = -(-len(values) // KEPT)
        kept.append({
            "name": key,
            "len": len(values),
            "norm": float(f"{np.linalg.norm(wide[key]):.8g}"),
            "every": every,
            "values": [float(f"{v:.8g}") for v in wide[key][::every]],
            "noise": float(f"{floor[::every].max():.2g}"),
        })  # fmt: skip
        print(f"  {key:32} noise {floor.max():.1e}, of those kept {floor[::every].max():.1e}")
    return kept


def case(name, seed, batch, codes):
    build, side = WORKLOADS[name]
    random = SplitMix(seed)
    model = build()
    model.codebook = Codebook(codes, model.codebook.table.shape[1])
    fill(model, random)
    batches = [random.pictures(batch, side) for _ in range(STEPS)]
    codes = place_codes(model, batches[0])
    exact = copy.deepcopy(model).double()
    figures, choices, margins = run(model, batches)
    wide_figures, wide_choices, wide_margins = run(exact, [x.double() for x in batches])
    assert torch.equal(choices, wide_choices), f"{name}: seed {seed} has a near tie"
    # Noise grows from step to step: each step's least margin stands against its own largest noise.
    apart = (wide_margins.amin(1) / (margins - wide_margins).abs().amax(1)).min().item()
    print(f"{name}: margins are {apart:.1f} times their noise or more")
    assert apart > 10, f"{name}: seed {seed} has too small a margin"
    noise_of_losses = max(
        abs(a[key] / b[key] - 1) for a, b in zip(figures, wide_figures) for key in a
    )
    shown = [round(step["perplexity"]) for step in figures]
    print(f"{name}: noise of the figures {noise_of_losses:.1e}, perplexities {shown}")
    return {
        "name": name,
        "seed": seed,
        "batch": batch,
        "codes": codes.numpy().tobytes().hex(),
        "steps": wide_figures,
        "tensors": kept_tensors(model, exact),
    }


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = [case(name, *settings) for name, settings in CASES.items()]
    fixture = {
        "variance": VARIANCE,
        "lr": LR,
        "warmup": WARMUP,
        "source": f"torch {torch.__version__}",
        "cases": cases,
    }
    # A tensor a line.
    text = json.dumps(fixture, separators=(",", ":")).replace('{"name"', '\n{"name"')
    (HERE / "train_steps.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
