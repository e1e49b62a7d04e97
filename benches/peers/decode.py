"""Decodes with `vq`, onnxruntime and tract (f32, and int8 as static QDQ per channel) and PyTorch in turn, and prints a
table.

    pip install torch onnx onnxruntime tract safetensors pillow
    python3 benches/peers/decode.py --rounds 5
    python3 benches/peers/decode.py --only micro --codes 16

All have the same network with the same weights: those of a checkpoint that `vq train` makes first, on the photos of
this repository. Times are medians of many decodes from embeddings (from codes: vq) to floats (to pixels: vq), with one
thread; ratios are medians over the rounds, each pair of a round measured back to back.
"""

import argparse
import datetime
import functools
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import tract
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image
from safetensors.torch import load_file

from cargo import ROOT, built
from models import WORKLOADS
from table import cpu, print_row

PHOTOS = ROOT / "vq-train" / "photos"
# Of the training that makes a checkpoint.
STEPS = 100
# Of the decodes of one measurement, at most.
SECONDS = 5
# Pixels of a code, along each side.
DOWN = {"sonnet-cifar10": 4, "micro": 8}
PEERS = ["PyTorch", "ORT f32", "ORT int8", "tract f32", "tract int8"]
NAMES = [*PEERS, "vq f32", "vq i8"]


@functools.cache
def program():
    return built("vq", "vq-train")


def vq(*arguments):
    command = [program(), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def checkpoint(workload, folder):
    """A short training's folder."""
    text = (ROOT / "configs" / f"{workload}.toml").read_text()
    config = folder / f"{workload}.toml"
    # The photos have 64 pixels a side; the codes start before so short a training ends.
    text = text.replace('kind = "cifar10"', 'kind = "photos"').replace("[128, 128]", "[64, 64]")
    text = re.sub(r"^start = \d+", f"start = {STEPS // 2}", text, flags=re.MULTILINE)
    config.write_text(text)
    run = folder / workload
    vq("train", config, "--data", PHOTOS / "train", "--steps", STEPS, "--out", run)
    return run


def loaded(workload, run, folder):
    """The same network in PyTorch: parameters by their order in the file's names, which is that of the layers."""
    weights = folder / f"{workload}.safetensors"
    vq("export", run, "--safetensors", weights)
    tensors = load_file(weights)
    model = WORKLOADS[workload][0]().eval()
    for part in ("encoder", "decoder"):
        module = getattr(model, part)
        modules = [m for m in module.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
        layers = sorted(
            {name.rpartition(".")[0] for name in tensors if name.startswith(part)},
            key=lambda name: [int(number) for number in name.split(".")[1:]],
        )
        assert len(layers) == len(modules)
        for layer, own in zip(layers, modules):
            own.load_state_dict({k: tensors[f"{layer}.{k}"] for k in own.state_dict()})
    model.codebook.place(tensors["quantizer.codebook"])
    return model


@torch.no_grad()
def reconstructed(model, pixels):
    """A picture's bytes [h, w, 3] as PyTorch gives them back."""
    x = (torch.tensor(pixels).permute(2, 0, 1)[None].float() - 128) / 128
    y = model(x)[0][0].permute(1, 2, 0)
    return (128 * y + 128).round().clamp(0, 255).numpy().astype(np.uint8)


def psnr(a, b):
    mse = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return 10 * np.log10(255**2 / max(mse, 1e-9))


class Codes(CalibrationDataReader):
    """Embeddings of random codes, to calibrate on."""

    def __init__(self, table, side, count):
        self.table, self.side, self.left = table, side, count

    def draw(self):
        chosen = np.random.randint(len(self.table), size=(1, self.side, self.side))
        return np.ascontiguousarray(self.table[chosen].transpose(0, 3, 1, 2))

    def get_next(self):
        self.left -= 1
        return {"x": self.draw()} if self.left >= 0 else None


def session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def onnx(file, x):
    """What times onnxruntime and tract on the same file. Both have one thread, and tract never more."""
    ort = session(file)
    model = tract.onnx().load(file).into_model().into_runnable()
    feed, inputs = {"x": x}, [tract.Tensor.from_numpy(x)]
    apart = np.abs(model.run(inputs)[0].to_numpy() - ort.run(None, feed)[0]).mean()
    assert apart < 0.01, f"{file}: tract is {apart} from onnxruntime"
    return (
        lambda runs: timed(lambda: ort.run(None, feed), runs),
        lambda runs: timed(lambda: model.run(inputs), runs),
    )


def timed(decode, runs):
    """Median of some decodes in microseconds, behind as many for warmth as a tenth. Whoever is slow does fewer."""
    times = []
    while len(times) < runs * 1.1 and (len(times) < 11 or sum(times) < SECONDS):
        start = time.perf_counter()
        decode()
        times.append(time.perf_counter() - start)
    return statistics.median(times[len(times) // 11 :]) * 1e6


class Ours:
    """A model file, timed by `vq bench`."""

    def __init__(self, file, size):
        self.file, self.size = file, size
        first = json.loads(vq("bench", "-m", file, "--size", size, "--runs", 1, "--json"))
        self.backend, self.macs = first["backend"], first["macs"]

    def __call__(self, runs):
        options = ["--size", self.size, "--runs", runs, "--backend", self.backend, "--json"]
        return json.loads(vq("bench", "-m", self.file, *options))["decode_us"]


def contenders(workload, model, files, side, folder):
    """Name to what times it, for pictures of side x side codes."""
    codes = Codes(model.codebook.table.numpy(), side, 16)
    x = torch.tensor(codes.draw())
    plain, quantised = folder / f"{workload}-{side}.onnx", folder / f"{workload}-{side}-int8.onnx"
    torch.onnx.export(model.decoder, (x,), plain, input_names=["x"], output_names=["y"], dynamo=False)
    kinds = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
    quantize_static(plain, quantised, codes, quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    ort_f32, tract_f32 = onnx(plain, x.numpy())
    ort_int8, tract_int8 = onnx(quantised, x.numpy())

    def eager(runs):
        with torch.inference_mode():
            return timed(lambda: model.decoder(x), runs)

    pixels = side * DOWN[workload]
    size = f"{pixels}x{pixels}"
    ours = {f"vq {dtype}": Ours(file, size) for dtype, file in files.items()}
    return dict(zip(PEERS, [eager, ort_f32, ort_int8, tract_f32, tract_int8])) | ours


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--codes", type=int, nargs="+", default=[8, 16, 32, 64], help="codes along each side")
    parser.add_argument("--only", choices=sorted(DOWN))
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu()}; {datetime.date.today()}; {args.rounds} rounds; load {os.getloadavg()[0]:.1f}; onnxruntime "
          f"{onnxruntime.__version__}, tract {version('tract')}, PyTorch {torch.__version__}\n")  # fmt: skip
    times = [f"{name}, us" for name in NAMES]
    print_row("decoder", "codes", *times, "f32: vq / best f32", "i8: vq / best of all", "GMAC/s")
    print("|" + "---|" * (len(NAMES) + 5))
    with tempfile.TemporaryDirectory() as folder:
        for workload in DOWN:
            if args.only in (None, workload):
                compare(workload, args, Path(folder))


def compare(workload, args, folder):
    run = checkpoint(workload, folder)
    model = loaded(workload, run, folder)
    files = {dtype: folder / f"{workload}-{dtype}.vqm" for dtype in ("f32", "i8")}
    for dtype, file in files.items():
        vq("export", run, "-o", file, "--dtype", dtype, "--calibrate", PHOTOS / "train")
    check(workload, model, files["f32"], folder)
    for side in args.codes:
        runs = max(10, 2000 * 64 // side**2 // (4 if workload == "micro" else 1))
        by_name = contenders(workload, model, files, side, folder)
        rounds = [{name: by_name[name](runs) for name in NAMES} for _ in range(args.rounds)]
        cells = [f"{statistics.median(r[name] for r in rounds):.0f}" for name in NAMES]
        single = [min(r[name] for name in PEERS if "int8" not in name) / r["vq f32"] for r in rounds]
        integer = [min(r[name] for name in PEERS) / r["vq i8"] for r in rounds]
        ratios = [f"{statistics.median(r):.2f} ({min(r):.2f}-{max(r):.2f})" for r in (single, integer)]
        rate = by_name["vq i8"].macs / statistics.median(r["vq i8"] for r in rounds) / 1e3
        print_row(workload, f"{side}x{side}", *cells, *ratios, f"{rate:.0f}")


def check(workload, model, file, folder):
    """Both give the same picture back, but for codes between which rounding decides."""
    side = WORKLOADS[workload][1]
    photo = sorted((PHOTOS / "demo").glob("*.jpg"))[0]
    picture = Image.open(photo).convert("RGB").resize((side, side))
    picture.save(folder / "in.png")
    vq("encode", folder / "in.png", "-m", file, "-o", folder / "in.vqc")
    vq("decode", folder / "in.vqc", "-m", file, "-o", folder / "out.png")
    ours = np.asarray(Image.open(folder / "out.png").convert("RGB"))
    alike = psnr(ours, reconstructed(model, np.asarray(picture)))
    assert alike > 40, f"{workload}: PyTorch's picture is {alike:.1f} dB from ours"


main()
