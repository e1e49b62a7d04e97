"""Trains the tutorial's VQ-VAE in PyTorch and writes what PyTorch makes of a picture.

    python3 tests/oracle/pytorch.py

rewrites pytorch.safetensors (the weights) and pytorch.json (a 32x32 picture as hex, PyTorch's codes for it
and its reconstruction in 0..255 before rounding, as hex of f32 in little-endian order) beside this file.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "vq-train/tutorial"))
from train import train  # noqa: E402


def main():
    torch.set_num_threads(1)
    model, data = train(ROOT / "vq-train/photos")
    save_file(model.state_dict(), HERE / "pytorch.safetensors")
    with torch.no_grad():
        x = data[7:8]
        codes = model.codes(model.vectors(x))
        y = (model.decode(codes) + 1) * 127.5
    channels_last = [t[0].permute(1, 2, 0).contiguous() for t in ((x + 1) * 127.5, y)]
    picture, reconstruction = channels_last
    fixture = {
        "pixels": picture.round().to(torch.uint8).numpy().tobytes().hex(),
        "codes": codes.flatten().tolist(),
        "reconstruction": reconstruction.numpy().astype("<f4").tobytes().hex(),
    }
    (HERE / "pytorch.json").write_text(json.dumps(fixture, indent=1) + "\n")


main()
