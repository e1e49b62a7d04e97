"""Layers of the trainer in PyTorch: outputs and all gradients, for layer_parity.rs to meet.

    python3 tests/oracle/layers.py

rewrites layers.safetensors beside this file. PyTorch computes in float64; what is stored is rounded to
float32. Its metadata hold the list `cases`; tensor `I/NAME` belongs to case I. Maps are stored as NHWC,
parameters in the trainer's order and layout. A new layer is a new line in `cases()`.
"""

import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

HERE = Path(__file__).parent


class Case:
    """A layer as configurations of `vq` name it, the module that it must agree with, and its input."""

    def __init__(self, layers, module, shape, trains=True):
        self.layers, self.module, self.shape, self.trains = layers, module, shape, trains


class Same(nn.Module):
    """Pads to a map that is smaller by exactly the stride, the odd zero to the right and below."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        total = max(self.inner.kernel_size[0] - self.inner.stride[0], 0)
        before, after = total // 2, total - total // 2
        return self.inner(F.pad(x, (before, after, before, after)))


class Cut(nn.Module):
    """Cuts a transposed convolution's border, the odd row to the right and below."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y, stride = self.inner(x), self.inner.stride[0]
        before = (self.inner.kernel_size[0] - stride) // 2
        height, width = (stride * side for side in x.shape[2:])
        return y[:, :, before : before + height, before : before + width]


class Residual(nn.Module):
    """x + f(x), or shortcut(x) + f(x)."""

    def __init__(self, *layers, relu=False, shortcut=None):
        super().__init__()
        self.inner = nn.Sequential(*layers)
        self.shortcut = shortcut if shortcut is not None else nn.Identity()
        self.relu = relu

    def forward(self, x):
        y = self.shortcut(x) + self.inner(x)
        return F.relu(y) if self.relu else y


def conv(c_in, c_out, kernel=3, stride=1, bias=True):
    return Same(nn.Conv2d(c_in, c_out, kernel, stride, bias=bias))


def conv_case(out, kernel, stride, shape, relu=False, bias=True):
    config = {"out": out, "kernel": kernel, "stride": stride, "relu": relu, "bias": bias}
    layers = [conv(shape[1], out, kernel, stride, bias)] + [nn.ReLU()] * relu
    return Case([{"conv": config}], nn.Sequential(*layers), shape)


def transposed_case(out, kernel, stride, shape, relu=False):
    config = {"out": out, "kernel": kernel, "stride": stride, "relu": relu}
    layers = [Cut(nn.ConvTranspose2d(shape[1], out, kernel, stride))] + [nn.ReLU()] * relu
    return Case([{"transposed": config}], nn.Sequential(*layers), shape)


def residual_case(relu):
    branch = ["relu", {"conv": {"out": 7, "relu": True}}, {"conv": {"out": 5, "kernel": 1}}]
    module = Residual(nn.ReLU(), conv(5, 7), nn.ReLU(), conv(7, 5, 1), relu=relu)
    return Case([{"residual": {"layers": branch, "relu": relu}}], module, (2, 5, 4, 6))


def norm(channels, groups=32):
    return nn.GroupNorm(min(groups, channels), channels, eps=1e-6)


class Attention(nn.Module):
    """Heads over all positions of a map, with a skip."""

    def __init__(self, channels, heads):
        super().__init__()
        self.norm, self.heads = norm(channels), heads
        self.q, self.k, self.v, self.out = (conv(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        n, c, height, width = x.shape
        h = self.norm(x)
        q, k, v = (layer(h).view(n, self.heads, -1, height * width) for layer in (self.q, self.k, self.v))
        scores = torch.einsum("nhdp,nhdq->nhpq", q, k) / (c // self.heads) ** 0.5
        y = torch.einsum("nhpq,nhdq->nhdp", scores.softmax(-1), v)
        return x + self.out(y.reshape(x.shape))


def resblock_case(c_in, c_out):
    branch = [norm(c_in), nn.SiLU(), conv(c_in, c_out), norm(c_out), nn.SiLU(), conv(c_out, c_out)]
    shortcut = conv(c_in, c_out, 1) if c_in != c_out else None
    module = Residual(*branch, shortcut=shortcut)
    return Case([{"resblock": {"out": c_out}}], module, (2, c_in, 5, 4))


def group_norm_case(channels, groups, shape, silu):
    layers = [norm(channels, groups)] + [nn.SiLU()] * silu
    config = {"groups": groups, "silu": silu}
    return Case([{"groupnorm": config}], nn.Sequential(*layers), (2, channels, *shape))


def cases():
    """Shapes are NCHW."""
    yield conv_case(20, 3, 1, (2, 5, 6, 4))
    yield conv_case(9, 3, 1, (2, 4, 5, 7), relu=True, bias=False)
    yield conv_case(35, 1, 1, (3, 6, 3, 4), relu=True)
    yield conv_case(6, 4, 2, (2, 3, 8, 6), relu=True)
    yield conv_case(6, 3, 2, (2, 5, 8, 6))  # one zero to the right and below, none elsewhere
    yield conv_case(4, 5, 3, (1, 3, 9, 6))
    yield transposed_case(6, 4, 2, (2, 5, 3, 4), relu=True)
    yield transposed_case(4, 3, 2, (2, 5, 4, 3))
    yield transposed_case(5, 2, 2, (1, 3, 4, 5))
    yield Case([{"upsample": 2}], nn.Upsample(scale_factor=2), (2, 3, 3, 4))
    yield Case([{"shuffle": 2}], nn.PixelShuffle(2), (2, 12, 3, 2))
    yield Case([{"unshuffle": 2}], nn.PixelUnshuffle(2), (2, 3, 4, 6))
    yield Case(["relu"], nn.ReLU(), (2, 3, 5, 4))
    yield residual_case(relu=False)
    yield residual_case(relu=True)
    yield group_norm_case(32, 32, (7, 9), silu=True)
    yield group_norm_case(20, 5, (3, 4), silu=False)
    yield group_norm_case(6, 1, (11, 5), silu=True)
    yield Case([{"batchnorm": {}}], nn.BatchNorm2d(5), (4, 5, 3, 4))
    yield Case([{"batchnorm": {}}], nn.BatchNorm2d(33), (3, 33, 4, 2))
    yield Case([{"batchnorm": {}}], nn.BatchNorm2d(6), (2, 6, 3, 4), trains=False)
    yield Case(["silu"], nn.SiLU(), (2, 3, 5, 7))
    yield Case(["tanh"], nn.Tanh(), (2, 3, 5, 7))
    yield Case(["sigmoid"], nn.Sigmoid(), (2, 3, 5, 7))
    yield Case([{"leaky": 0.2}], nn.LeakyReLU(0.2), (2, 3, 5, 7))
    yield Case([{"dropout": 0.3}], nn.Dropout(0.3), (1, 3, 4, 2), trains=False)
    yield Case([{"attention": {}}], Attention(8, 1), (2, 8, 4, 5))
    yield Case([{"attention": {"heads": 4}}], Attention(32, 4), (2, 32, 3, 3))
    yield resblock_case(8, 8)
    yield resblock_case(64, 4)


def parameters(module):
    """Every tensor that the trainer keeps, in its order: (owner, name, tensor)."""
    for owner in module.modules():
        own = [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]
        for name, tensor in own:
            if tensor.is_floating_point():
                yield owner, name, tensor


def ours(owner, tensor):
    """A parameter in the trainer's layout: convolutions [k, k, in, out], transposed [in, k, k, out].

    An owner of another kind has a `layout` that says it.
    """
    if hasattr(owner, "layout"):
        return owner.layout(tensor)
    if isinstance(owner, nn.ConvTranspose2d) and tensor.dim() == 4:
        return tensor.permute(0, 2, 3, 1)
    if isinstance(owner, nn.Conv2d) and tensor.dim() == 4:
        return tensor.permute(2, 3, 1, 0)
    return tensor


def start(name, tensor):
    """Gives a parameter values that float32 holds exactly."""
    values = torch.randn(tensor.shape, dtype=torch.float32)
    if "var" in name:
        values = values.abs() + 0.5
    spread = tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.5
    tensor.data.copy_(values * spread if "var" not in name else values)


def run(case):
    """All tensors of a case by name."""
    module = case.module.double().train(case.trains)
    params = list(parameters(module))
    for _, name, tensor in params:
        start(name, tensor)
    x = torch.randn(case.shape, dtype=torch.float32).double().requires_grad_()
    found = {"x": x.permute(0, 2, 3, 1)}
    for i, (owner, _, tensor) in enumerate(params):
        found[f"param.{i}"] = ours(owner, tensor).detach().clone()
    y = module(x)
    found["y"] = y.permute(0, 2, 3, 1)
    if case.trains:
        dy = torch.randn(y.shape, dtype=torch.float32).double()
        y.backward(dy)
        found |= {"dy": dy.permute(0, 2, 3, 1), "dx": x.grad.permute(0, 2, 3, 1)}
        for i, (owner, _, tensor) in enumerate(params):
            if isinstance(tensor, nn.Parameter):
                found[f"grad.{i}"] = ours(owner, tensor.grad)
            else:  # what has followed the batch
                found[f"after.{i}"] = ours(owner, tensor)
    return {name: t.detach().float().contiguous() for name, t in found.items()}


def write(cases, path):
    """A fixture with all tensors of the cases."""
    torch.manual_seed(2016)
    header, blob, described = {}, b"", []
    for i, case in enumerate(cases):
        described.append({"layers": case.layers, "trains": case.trains})
        for name, tensor in run(case).items():
            data = tensor.numpy().astype("<f4").tobytes()
            ends = [len(blob), len(blob) + len(data)]
            header[f"{i}/{name}"] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": ends}
            blob += data
    metadata = {"cases": json.dumps(described), "source": f"torch {torch.__version__}"}
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


if __name__ == "__main__":
    write(cases(), HERE / "layers.safetensors")
