"""LPIPS (AlexNet, v0.1) in numpy and scipy, written from the paper and not from metrics/lpips.rs.

    python3 tests/oracle/lpips.py

rewrites lpips.safetensors (a network of the same form with few channels and random weights) and
lpips.json (two pictures as hex, and their distance) beside this file. With arguments,

    python3 tests/oracle/lpips.py WEIGHTS.safetensors REFERENCE.png OTHER.png

prints the distance under the real weights, which checks this script itself against the published
values of the pair in lpips-example/: 0.72188 for ex_p0 and 0.13757 for ex_p1.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.signal import correlate

HERE = Path(__file__).parent
KERNELS, STRIDES, PADDINGS = [11, 5, 3, 3, 3], [4, 1, 1, 1, 1], [2, 2, 1, 1, 1]


def read(path):
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, blob = json.loads(data[8 : 8 + size]), data[8 + size :]
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(blob[slice(*t["data_offsets"])], "<f4").reshape(t["shape"])
        for name, t in header.items()
    }


def write(path, tensors):
    header, blob = {}, b""
    for name, t in tensors.items():
        ends = [len(blob), len(blob) + t.nbytes]
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": ends}
        blob += t.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + blob)


def convolve(x, weight, bias, stride, padding):
    """x [c, h, w], weight [o, c, k, k]: full correlation, then every stride-th value."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    y = [correlate(x, w, mode="valid", method="direct")[0] + b for w, b in zip(weight, bias)]
    return np.stack(y)[:, ::stride, ::stride]


def pool(x):
    """3x3, stride 2, no padding: centres 1, 3, 5, ... of a sliding maximum."""
    return maximum_filter(x, size=(1, 3, 3))[:, 1:-1:2, 1:-1:2]


def features(picture, net):
    x = picture.astype(np.float64).transpose(2, 0, 1) / 127.5 - 1
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = (x - shift[:, None, None]) / scale[:, None, None]
    for i in range(5):
        if i in (1, 2):
            x = pool(x)
        w, b = (net[f"conv{i}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        x = np.maximum(convolve(x, w, b, STRIDES[i], PADDINGS[i]), 0)
        yield x


def distance(a, b, net):
    total = 0.0
    for i, (fa, fb) in enumerate(zip(features(a, net), features(b, net))):
        fa, fb = (f / (np.linalg.norm(f, axis=0) + 1e-10) for f in (fa, fb))
        total += np.tensordot(net[f"lin{i}.weight"], (fa - fb) ** 2, axes=1).mean()
    return total


def small_network(rng):
    net, c_in = {}, 3
    for i, c_out in enumerate([6, 8, 10, 7, 5]):
        k = KERNELS[i]
        spread = (2 / (c_in * k * k)) ** 0.5
        net[f"conv{i}.weight"] = rng.normal(0, spread, (c_out, c_in, k, k)).astype(np.float32)
        net[f"conv{i}.bias"] = rng.normal(0, 0.1, c_out).astype(np.float32)
        net[f"lin{i}.weight"] = rng.uniform(0, 1, c_out).astype(np.float32)
        c_in = c_out
    return net


def main():
    if len(sys.argv) == 4:
        from PIL import Image

        a, b = (np.asarray(Image.open(path).convert("RGB")) for path in sys.argv[2:])
        print(f"{distance(a, b, read(sys.argv[1])):.5f}")
        return
    rng = np.random.default_rng(2018)
    net = small_network(rng)
    write(HERE / "lpips.safetensors", net)
    height, width = 39, 50  # not multiples of any stride, so that every border is met
    a = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    b = np.clip(a + rng.normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    fixture = {
        "width": width,
        "height": height,
        "channels": 3,
        "a": a.tobytes().hex(),
        "b": b.tobytes().hex(),
        "lpips": distance(a, b, net),
    }
    (HERE / "lpips.json").write_text(json.dumps(fixture, indent=1) + "\n")


main()
