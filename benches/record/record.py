"""Records what the benchmarks say, one file each in this folder, so that `git diff` shows what has become slower.

    python3 benches/record/record.py                # all of it, about an hour on a machine without other work
    python3 benches/record/record.py boards sizes   # only some

Each file starts with CPU, date, commit and command. `host` needs criterion only, `boards` QEMU (tests/setup.sh), `peers`
what ../peers/decode.py needs.
"""

import argparse
import datetime
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))

from cargo import ROOT, built  # noqa: E402
from table import cpu  # noqa: E402

MODELS = ["micro", "edge-gan"]
SQUARES = ",".join(f"{side}x{side}" for side in (64, 128, 256, 512, 1024))
TALLER = ",".join(f"128x{height}" for height in (64, 128, 256, 512, 1024))


def output(*command, may_fail=False, **settings):
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if done.returncode and not may_fail:
        sys.exit(f"error: {' '.join(map(str, command))}\n{done.stderr}")
    # What a failing command says last is its error.
    return done.stdout if not done.returncode else done.stderr.splitlines()[-1] + "\n"


def commit():
    changed = output("git", "status", "--porcelain", "--untracked-files=no").strip()
    return output("git", "rev-parse", "--short", "HEAD").strip() + (", and changes" if changed else "")


def model(name):
    return ROOT / "vq-train" / "models" / f"{name}.vqm"


def host():
    """The medians of the core's criterion benchmarks."""
    for bench in ("core", "layers", "nearest"):
        output("cargo", "bench", "-q", "-p", "vq-benches", "--bench", bench, "--", "--noplot")
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion"
    rows = []
    for file in folder.rglob("new/benchmark.json"):
        about = json.loads(file.read_text())
        name = about["full_id"]
        if name.startswith("train_step"):
            continue
        nanoseconds = json.loads((file.parent / "estimates.json").read_text())["median"]["point_estimate"]
        per = (about["throughput"] or {}).get("Elements")
        rows.append((name, nanoseconds / 1e3, f"{per / nanoseconds:9.2f} G/s" if per else ""))
    return "".join(f"{name:24} {us:10.3f} us {rate}".rstrip() + "\n" for name, us, rate in sorted(rows))


def build():
    """What the first `cargo run --release` of a newcomer compiles: in all, and the parts that take longest."""
    with tempfile.TemporaryDirectory() as target:
        # Crates come before the clock is started.
        output("cargo", "fetch", "--locked")
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        output("cargo", "build", "-q", "--release", "--timings", CARGO_TARGET_DIR=target)
        wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        report = (Path(target) / "cargo-timings" / "cargo-timing.html").read_text()
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    units = json.loads(re.search(r"const UNIT_DATA = (\[.*?\]);\n", report, re.DOTALL)[1])
    units.sort(key=lambda unit: -unit["duration"])
    table = "".join(f"{unit['name'] + unit['target']:32} {unit['duration']:6.1f} s\n" for unit in units[:12])
    return f"{wall:.0f} s, {processor:.0f} CPU-seconds, {len(units)} units\n\n{table}"


def sizes():
    """Time and memory by the picture's size."""
    vq = built("vq", "vq-train")
    tables = []
    for name in MODELS:
        for size in (SQUARES, TALLER):
            tables.append(f"{name}: " + output(vq, "bench", "-m", model(name), "--size", size))
    return "\n".join(tables)


def boards():
    """Every operator's instructions on every board that runs under QEMU."""
    vq = built("vq", "vq-train")
    names = sorted(file.parent.name for file in ROOT.glob("vq-firmware/boards/*/board.toml"))
    tables = []
    for board in names:
        for name in MODELS:
            command = [vq, "flash", "-m", model(name), "--board", board, "--layers"]
            tables.append(f"{name}\n" + output(*command, may_fail=True))
    return "\n".join(tables)


def peers():
    """Decoding beside onnxruntime, tract and PyTorch."""
    return output(sys.executable, HERE.parent / "peers" / "decode.py", "--rounds", 3)


def main():
    records = {record.__name__: record for record in (build, host, sizes, boards, peers)}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(records)}; default: all")
    names = parser.parse_args().names or list(records)
    if unknown := set(names) - set(records):
        parser.error(f"no record {', '.join(sorted(unknown))}: there are {', '.join(records)}")
    for name in names:
        head = [
            f"cpu: {cpu()}",
            f"date: {datetime.date.today()}",
            f"commit: {commit()}",
            f"command: python3 benches/record/record.py {name}",
            f"load before: {os.getloadavg()[0]:.1f}",
        ]
        text = records[name]()
        (HERE / f"{name}.txt").write_text("\n".join(head) + "\n\n" + text)
        print(HERE / f"{name}.txt")


main()
