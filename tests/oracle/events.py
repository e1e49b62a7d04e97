"""What TensorBoard's own reader (pip install tensorboard) makes of event files.

    python3 tests/oracle/events.py RUN

prints it as JSON for the folder of a run. With --check, it must be what tests/tensorboard.rs writes:

    python3 tests/oracle/events.py --check tests/oracle/events

The folder is read in both ways that TensorBoard has: by the types of the file (event_accumulator), and
converted to tensors as its charts want them (plugin_event_accumulator).
"""

import io
import json
import sys
from dataclasses import asdict

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.util import tensor_util


def plain(folder):
    reader = event_accumulator.EventAccumulator(folder, {"scalars": 0, "images": 0, "histograms": 0})
    reader.Reload()
    tags = reader.Tags()
    return {
        "version": reader.file_version,
        "scalars": {
            tag: [[e.step, e.value] for e in reader.Scalars(tag)] for tag in tags["scalars"]
        },
        "images": {
            tag: [[e.step, e.width, e.height, pixels(e)] for e in reader.Images(tag)]
            for tag in tags["images"]
        },
        "histograms": {
            tag: [[e.step, asdict(e.histogram_value)] for e in reader.Histograms(tag)]
            for tag in tags["histograms"]
        },
    }


def pixels(event):
    """The sum of all samples, which says whether the picture can be decoded and is the right one."""
    picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    assert picture.shape[:2] == (event.height, event.width)
    return [picture.ndim, int(picture.sum())]


def converted(folder):
    """Per plugin and tag, the steps and shapes; of histograms, rows of left edge, right edge, count."""
    reader = plugin_event_accumulator.EventAccumulator(folder, {"tensors": 0})
    reader.Reload()
    found = {}
    for plugin in ("scalars", "images", "histograms"):
        found[plugin] = {}
        for tag in reader.PluginTagToContent(plugin):
            events = [(e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in reader.Tensors(tag)]
            show = plugin == "histograms"
            found[plugin][tag] = [[s, t.tolist() if show else list(t.shape)] for s, t in events]
    return found


def histogram(low, high, counts, total, squares):
    limits = [low + i + 1 for i in range(len(counts))]
    return {
        "min": low,
        "max": high,
        "num": sum(counts),
        "sum": total,
        "sum_squares": squares,
        "bucket_limit": limits,
        "bucket": counts,
    }


def check(folder):
    samples = [3 * i for i in range(72)]
    luma = [
        (299 * r + 587 * g + 114 * b + 500) // 1000
        for r, g, b in zip(samples[0::3], samples[1::3], samples[2::3])
    ]
    expected = {
        "version": 2,
        "scalars": {"train/loss": [[10, 0.5], [20, 0.25], [30, 0.75]]},
        "images": {
            "validation/reconstructions": [[20, 6, 4, [3, sum(samples)]]],
            "validation/grey": [[40, 6, 4, [2, sum(luma)]]],
        },
        "histograms": {
            "validation/codes": [
                [20, histogram(0.5, 3.5, [3, 0, 1], 6, 12)],
                [40, histogram(-0.5, 0.5, [7], 0, 0)],
            ]
        },
    }
    seen = plain(folder)
    # TensorBoard keeps the name of a curve whose points are all dropped.
    assert seen["scalars"].pop("train/gone") == [], "a start did not drop the points behind it"
    assert seen == expected, seen
    charts = converted(folder)
    charts["scalars"].pop("train/gone", None)
    assert charts["scalars"] == {"train/loss": [[10, []], [20, []], [30, []]]}, charts
    assert charts["images"]["validation/reconstructions"] == [[20, [3]]], charts
    rows = [[0.5, 1.5, 3], [1.5, 2.5, 0], [2.5, 3.5, 1]]
    assert charts["histograms"]["validation/codes"] == [[20, rows], [40, [[-0.5, 0.5, 7]]]], charts


if sys.argv[1] == "--check":
    check(sys.argv[2])
else:
    print(json.dumps({"plain": plain(sys.argv[1]), "converted": converted(sys.argv[1])}, indent=1))
