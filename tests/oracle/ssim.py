"""PSNR and SSIM of small pictures by scikit-image, for metrics.rs to meet.

    pip install scikit-image && python3 tests/oracle/ssim.py

rewrites ssim.json beside this file: a list of cases with both pictures as hex (rows of pixels).
"""

import json
from pathlib import Path

import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def case(rng, height, width, channels, noise):
    """A smooth picture and the same with noise of the given spread."""
    y, x, c = np.mgrid[:height, :width, :channels]
    smooth = 128 + 90 * np.sin(x / 5 + c) * np.cos(y / 4 - c)
    a = np.clip(smooth, 0, 255).astype(np.uint8)
    b = np.clip(smooth + rng.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)
    return {
        "width": width,
        "height": height,
        "channels": channels,
        "a": a.tobytes().hex(),
        "b": b.tobytes().hex(),
        "psnr": peak_signal_noise_ratio(a, b, data_range=255),
        "ssim": structural_similarity(a, b, channel_axis=2, data_range=255),
    }


rng = np.random.default_rng(2004)
cases = [case(rng, 17, 24, 3, 4), case(rng, 21, 16, 3, 60), case(rng, 7, 33, 1, 20)]
fixture = {"source": f"scikit-image {skimage.__version__}", "cases": cases}
Path(__file__).with_suffix(".json").write_text(json.dumps(fixture, indent=1) + "\n")
