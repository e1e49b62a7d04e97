"""Decoders that see whole maps, in PyTorch, for whole_map.rs to meet in the core.

    python3 tests/oracle/whole_map.py

rewrites whole_map.safetensors beside this file; layers.py says what is in it. Each case ends in three
channels, as a decoder does.
"""

from torch import nn

from layers import HERE, Attention, Case, Residual, conv, norm, write


def case(layers, modules, shape):
    """With a 1x1 convolution to three channels at the end."""
    layers = [*layers, {"conv": {"out": 3, "kernel": 1}}]
    return Case(layers, nn.Sequential(*modules), shape, trains=False)


def group_norm_case(channels, groups, shape, silu):
    layers = [{"groupnorm": {"groups": groups, "silu": silu}}]
    modules = [norm(channels, groups), *[nn.SiLU()] * silu, conv(channels, 3, 1)]
    return case(layers, modules, (1, channels, *shape))


def attention_case(channels, heads, shape):
    modules = [Attention(channels, heads), conv(channels, 3, 1)]
    return case([{"attention": {"heads": heads}}], modules, (1, channels, *shape))


def resblock(c_in, c_out):
    branch = [norm(c_in), nn.SiLU(), conv(c_in, c_out), norm(c_out), nn.SiLU(), conv(c_out, c_out)]
    return Residual(*branch, shortcut=conv(c_in, c_out, 1) if c_in != c_out else None)


def decoder_case():
    """VQ-GAN's decoder with one level above the codes."""
    layers = [
        {"conv": {"out": 16, "kernel": 1}},
        {"conv": {"out": 16}},
        {"resblock": {"out": 16}},
        {"attention": {}},
        {"resblock": {"out": 16}},
        {"upsample": 2},
        {"conv": {"out": 16}},
        {"resblock": {"out": 8}},
        {"groupnorm": {"silu": True}},
        {"conv": {"out": 4}},
    ]
    modules = [
        conv(4, 16, 1),
        conv(16, 16),
        resblock(16, 16),
        Attention(16, 1),
        resblock(16, 16),
        nn.Upsample(scale_factor=2),
        conv(16, 16),
        resblock(16, 8),
        norm(8),
        nn.SiLU(),
        conv(8, 4),
        conv(4, 3, 1),
    ]
    return case(layers, modules, (1, 4, 5, 6))


def cases():
    """Shapes are NCHW."""
    yield group_norm_case(12, 4, (7, 9), silu=True)
    yield group_norm_case(6, 6, (3, 5), silu=False)
    yield attention_case(8, 1, (5, 6))
    yield attention_case(8, 2, (5, 6))
    yield case([{"resblock": {"out": 12}}], [resblock(8, 12), conv(12, 3, 1)], (1, 8, 6, 5))
    yield decoder_case()


if __name__ == "__main__":
    write(cases(), HERE / "whole_map.safetensors")
