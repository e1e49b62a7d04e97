"""Layers that choose or change weights or places, in PyTorch, for layer_parity.rs to meet.

    python3 tests/oracle/layers_more.py

rewrites layers_more.safetensors beside this file; layers.py says what is in it.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from layers import HERE, Case, write


class Pad(nn.Module):
    """The inner layer on a map with `before` rows and columns more above and left, `after` below and right."""

    def __init__(self, inner, before, after, value=0.0):
        super().__init__()
        self.inner, self.pad, self.value = inner, (before, after, before, after), value

    def forward(self, x):
        return self.inner(F.pad(x, self.pad, value=self.value))


class Average(nn.Module):
    """Average pooling that counts no padding."""

    def __init__(self, kernel, stride, before, after):
        super().__init__()
        self.sum = Pad(nn.AvgPool2d(kernel, stride, divisor_override=1), before, after)

    def forward(self, x):
        return self.sum(x) / self.sum(torch.ones_like(x))


class Last(nn.Module):
    """A layer over the last dimension, on channels."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Masked(nn.Conv2d):
    """PixelCNN's convolution: above, left, and at the centre earlier groups, with B also the own group."""

    def __init__(self, c_in, c_out, kernel, kind, groups):
        super().__init__(c_in, c_out, kernel, padding=kernel // 2)
        half = kernel // 2
        mask = torch.zeros(c_out, c_in, kernel, kernel)
        mask[:, :, :half] = 1
        if kind != "rows":
            mask[:, :, half, :half] = 1
            for o in range(c_out):
                for i in range(c_in):
                    earlier = i // (c_in // groups) - o // (c_out // groups)
                    mask[o, i, half, half] = earlier < 0 or (kind == "b" and earlier == 0)
        self.mask = mask.bool()

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def conv_case(config, shape):
    """A convolution with the padding that its configuration gives."""
    stride = config.get("stride", 1)
    inner = nn.Conv2d(shape[1], config["out"], config["kernel"], stride)
    return Case([{"conv": config}], Pad(inner, *config["pad"]), shape)


def pool_cases(kernel, stride, pad, shape):
    config = {"kernel": kernel, "stride": stride, "pad": pad}
    average = Average(kernel, stride, *pad)
    largest = Pad(nn.MaxPool2d(kernel, stride), *pad, value=-torch.inf)
    yield Case([{"averagepool": config}], average, shape)
    yield Case([{"maxpool": config}], largest, shape)


def linear_case(out, shape, relu=False, bias=True):
    config = {"out": out, "relu": relu, "bias": bias}
    inner = nn.Linear(shape[1], out, bias)
    inner.layout = lambda tensor: tensor.T if tensor.dim() == 2 else tensor
    layers = [Last(inner)] + [nn.ReLU()] * relu
    return Case([{"linear": config}], nn.Sequential(*layers), shape)


def masked_case(kind, groups, kernel=3):
    config = {"out": 12, "kernel": kernel, "mask": kind, "groups": groups}
    return Case([{"conv": config}], Masked(6, 12, kernel, kind, groups), (2, 6, 5, 4))


def channels_last(tensor):
    """`[in, k, k]` or `[in]`, flat, in the trainer's order."""
    return tensor.movedim(0, -1).flatten()


def spectral(layer):
    """Normalised, with the layouts of its weight `[out, ..]` and of u `[out]` and v `[..]`."""
    shape = layer.weight.shape

    def weight(tensor):
        return tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor.T

    def vector(tensor):
        return tensor if len(tensor) == shape[0] else channels_last(tensor.view(shape[1:]))

    layer = spectral_norm(layer)
    layer.parametrizations.weight.layout = weight
    layer.parametrizations.weight[0].layout = vector
    return layer


def spectral_cases(trains):
    """No bias: PyTorch would count it before the weight, we count it behind."""
    config = {"out": 10, "kernel": 3, "stride": 2, "pad": [1, 1], "bias": False, "spectral": True}
    inner = spectral(nn.Conv2d(4, 10, 3, 2, padding=1, bias=False))
    yield Case([{"conv": config}], inner, (2, 4, 6, 4), trains)
    config = {"out": 9, "bias": False, "spectral": True}
    inner = spectral(nn.Linear(20, 9, bias=False))
    yield Case([{"linear": config}], Last(inner), (2, 20, 3, 4), trains)


def cases():
    """Shapes are NCHW."""
    yield conv_case({"out": 7, "kernel": 3, "stride": 2, "pad": [1, 1]}, (2, 4, 6, 8))
    yield conv_case({"out": 7, "kernel": 4, "pad": [3, 0]}, (2, 4, 5, 6))
    yield conv_case({"out": 5, "kernel": 5, "stride": 2, "pad": [0, 4]}, (1, 3, 6, 4))
    yield from pool_cases(2, 2, [0, 0], (2, 3, 6, 4))
    yield from pool_cases(3, 2, [0, 1], (2, 5, 4, 6))
    yield from pool_cases(3, 1, [1, 1], (1, 3, 5, 4))
    yield linear_case(9, (2, 5, 3, 4))
    yield linear_case(40, (3, 17, 2, 3), relu=True)
    yield linear_case(6, (1, 4, 3, 2), bias=False)
    yield masked_case("a", 1)
    yield masked_case("a", 3)
    yield masked_case("b", 3, kernel=5)
    yield masked_case("b", 1)
    yield masked_case("rows", 1, kernel=5)
    yield from spectral_cases(trains=True)
    yield from spectral_cases(trains=False)


if __name__ == "__main__":
    write(cases(), HERE / "layers_more.safetensors")
