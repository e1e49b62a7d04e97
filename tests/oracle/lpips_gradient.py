"""The gradient of LPIPS (AlexNet, v0.1) in PyTorch, by automatic differentiation.

    python3 tests/oracle/lpips_gradient.py

takes the network and the pictures of lpips.py and rewrites lpips_gradient.safetensors beside this file:
the gradient of the distance by the second picture, [h, w, c] in samples of (p - 128) / 128, of the
RGB pictures (`rgb`) and of their first channel as grey ones (`grey`). With arguments,

    python3 tests/oracle/lpips_gradient.py WEIGHTS.safetensors X.png Y.png OUT.safetensors

does the same for these, in RGB alone, and says how long a batch of 16 takes.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
STRIDES, PADDINGS, POOLS = [4, 1, 1, 1, 1], [2, 2, 1, 1, 1], [1, 2]
SHIFT = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
SCALE = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)


def features(v, net):
    """v [n, 1 or 3, h, w] in (p - 128) / 128."""
    x = ((128 * v + 128) / 127.5 - 1).expand(-1, 3, -1, -1)
    x = (x - SHIFT.to(x)) / SCALE.to(x)
    for i, (stride, padding) in enumerate(zip(STRIDES, PADDINGS)):
        if i in POOLS:
            x = F.max_pool2d(x, 3, 2)
        x = F.relu(F.conv2d(x, net[f"conv{i}.weight"], net[f"conv{i}.bias"], stride, padding))
        yield x / (x.square().sum(1, keepdim=True).add(1e-30).sqrt() + 1e-10)


def distance(x, y, net):
    with torch.no_grad():
        targets = list(features(x, net))
    total = 0
    for i, (a, b) in enumerate(zip(targets, features(y, net))):
        head = net[f"lin{i}.weight"].view(1, -1, 1, 1)
        total = total + (head * (a - b) ** 2).sum(1).mean((1, 2)).sum()
    return total


def gradient(a, b, net, dtype=torch.float64):
    """Pictures [h, w, c] of bytes."""
    x, y = (((torch.tensor(p).to(dtype) - 128) / 128).permute(2, 0, 1)[None] for p in (a, b))
    y.requires_grad_()
    value = distance(x, y, {k: v.to(dtype) for k, v in net.items()})
    value.backward()
    return value.item(), y.grad[0].permute(1, 2, 0).contiguous().float().numpy()


def timed(a, b, net, n=16):
    for threads in (1, 2):
        torch.set_num_threads(threads)
        x, y = (((torch.tensor(p).float() - 128) / 128).permute(2, 0, 1)[None] for p in (a, b))
        x, y = x.repeat(n, 1, 1, 1), y.repeat(n, 1, 1, 1).requires_grad_()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            distance(x, y, net).backward()
            times.append(time.perf_counter() - start)
        print(f"{threads} threads: {1000 * min(times) / n:.2f} ms a picture of {tuple(a.shape)}")


def main():
    if len(sys.argv) == 5:
        from PIL import Image

        net = {k: torch.tensor(v) for k, v in load_file(sys.argv[1]).items()}
        a, b = (np.array(Image.open(path).convert("RGB")) for path in sys.argv[2:4])
        value, dy = gradient(a, b, net)
        save_file({"rgb": dy}, sys.argv[4])
        print(f"{value:.6f}, gradient of length {np.linalg.norm(dy):.6g}, largest {abs(dy).max():.6g}")
        timed(np.tile(a, (2, 2, 1))[:128, :128], np.tile(b, (2, 2, 1))[:128, :128], net)
        return
    net = {k: torch.tensor(v) for k, v in load_file(HERE / "lpips.safetensors").items()}
    fixture = json.loads((HERE / "lpips.json").read_text())
    shape = fixture["height"], fixture["width"], fixture["channels"]
    a, b = (np.frombuffer(bytes.fromhex(fixture[k]), np.uint8).reshape(shape) for k in "ab")
    value, rgb = gradient(a.copy(), b.copy(), net)
    assert abs(value - fixture["lpips"]) < 1e-6, (value, fixture["lpips"])
    _, grey = gradient(a[:, :, :1].copy(), b[:, :, :1].copy(), net)
    save_file({"rgb": rgb, "grey": grey}, HERE / "lpips_gradient.safetensors")


main()
