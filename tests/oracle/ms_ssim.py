"""MS-SSIM and its gradient, by pytorch-msssim and PyTorch's automatic differentiation.

    pip install pytorch-msssim
    python3 tests/oracle/ms_ssim.py

rewrites ms_ssim.json beside this file: for pictures that `pictures` makes from their size, MS-SSIM, and every
`step`-th value of the gradient of 1 - MS-SSIM by the second picture, [h, w, c] in samples of
(p - 128) / 128. The package wants sides above 160 and averages odd borders with zeros. Smaller pictures are
therefore put together from its similarities of one scale: as many scales as leave room for the window, their
weights brought to the sum of all five, and averages of what there is at odd borders.
"""

import importlib
import json
from pathlib import Path

import torch
import torch.nn.functional as F

package = importlib.import_module("pytorch_msssim.ssim")
HERE = Path(__file__).parent
WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
SIZES = [(176, 176, 3), (64, 96, 3), (75, 52, 1)]  # h, w, c
STEP = 397


def pictures(h, w, c):
    """Integers alone, so that every language makes the same."""
    y, x, k = torch.meshgrid(torch.arange(h), torch.arange(w), torch.arange(c), indexing="ij")
    a = (x * x // 7 + 3 * y + 40 * k) % 256
    b = (a + (37 * x + 91 * y + 53 * k + 7 * x * y) % 61 - 30).clamp(0, 255)
    return a, b


def window(channels):
    """The package's own has its values rounded to float32."""
    values = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    return (values / values.sum()).repeat(channels, 1, 1, 1)


def ms_ssim(x, y):
    """x, y [1, c, h, w] of 0 to 255."""
    side, win = min(x.shape[-2:]), window(x.shape[1])
    if side > 160:
        return package.ms_ssim(x, y, data_range=255, win=win)
    sides = [side]
    while len(sides) < 5 and -(-sides[-1] // 2) >= 11:
        sides.append(-(-sides[-1] // 2))
    weights = [w * sum(WEIGHTS) / sum(WEIGHTS[: len(sides)]) for w in WEIGHTS[: len(sides)]]
    product = 1
    for i, weight in enumerate(weights):
        whole, contrast = package._ssim(x, y, data_range=255, win=win)
        product = product * torch.relu(whole if i + 1 == len(weights) else contrast) ** weight
        x, y = (F.avg_pool2d(p, 2, ceil_mode=True, count_include_pad=False) for p in (x, y))
    return product.mean()


def case(h, w, c):
    x, v = ((p.double().permute(2, 0, 1)[None] - 128) / 128 for p in pictures(h, w, c))
    v.requires_grad_()
    value = ms_ssim(128 * x + 128, 128 * v + 128)
    (1 - value).backward()
    gradient = v.grad[0].permute(1, 2, 0).flatten()[::STEP].tolist()
    size = {"height": h, "width": w, "channels": c}
    return size | {"ms_ssim": value.item(), "step": STEP, "gradient": gradient}


cases = [case(*size) for size in SIZES]
(HERE / "ms_ssim.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")
