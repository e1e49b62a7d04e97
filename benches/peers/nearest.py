"""Searches with `vq` (f32 and i8) and faiss-cpu's IndexFlatL2 in turn, one thread each, and prints a table.

    pip install faiss-cpu numpy
    python3 benches/peers/nearest.py --rounds 5
    python3 benches/peers/nearest.py --dims 64 --entries 512 --backend avx2

The nearest of K entries of D numbers for each of 4,096 vectors, all normally distributed, in one call. faiss gets the
same numbers as f32. Before anything is timed, the entries found are compared: in i8 they are equally near as those of
faiss, whose arithmetic is exact on integers, in f32 but for rounding. Times are the least of a round's searches, which
other work on the machine disturbs least, ratios medians over the rounds.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

from cargo import ROOT, built
from table import cpu, print_row

VECTORS = 4096
# Of a number that eight bits hold, in steps.
DEVIATION = 32
# Products a second that this CPU can do at most, in 10^9: measured in registers on the machine of the recorded figures.
CEILINGS = {"f32": 56, "i8": 226}


class Ours:
    """Our binary, with its files."""

    def __init__(self, dtype, backend, entries, vectors, folder):
        self.files = [folder / "entries", folder / "vectors", folder / "codes"]
        for file, numbers in zip(self.files, (entries, vectors)):
            file.write_bytes(numbers.tobytes())
        chosen = ["--backend", backend] if backend else []
        self.command = [built("nearest"), *self.files[:2], "--dim", str(entries.shape[1]), "--dtype", dtype, *chosen]

    def __call__(self, runs):
        """Microseconds of a search."""
        command = [*self.command, "--runs", str(runs), "--codes", self.files[2]]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)["us"]

    def codes(self):
        self(1)
        return np.fromfile(self.files[2], np.uint16)


def drawn(dtype, count, dim, random):
    numbers = random.standard_normal((count, dim)).astype(np.float32)
    if dtype == "i8":
        numbers = np.clip(np.round(DEVIATION * numbers), -128, 127).astype(np.int8)
    return numbers


def timed(search, runs):
    """The least of some searches in microseconds, behind one for warmth."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        search()
        times.append(time.perf_counter() - start)
    return min(times[1:]) * 1e6


def check(dtype, entries, vectors, ours, theirs):
    """Both find an entry as near."""
    entries, vectors = entries.astype(np.float64), vectors.astype(np.float64)
    distance = lambda codes: ((vectors - entries[codes]) ** 2).sum(1)
    own, other = distance(ours), distance(theirs)
    worse = np.abs(own - other) > (0 if dtype == "i8" else 1e-5 * other)
    assert not worse.any(), f"{worse.sum()} of {len(own)} are not the nearest"


def compare(dtype, count, dim, args, folder):
    random = np.random.default_rng(1)
    entries, vectors = drawn(dtype, count, dim, random), drawn(dtype, VECTORS, dim, random)
    ours = Ours(dtype, args.backend, entries, vectors, folder)
    index, queries = faiss.IndexFlatL2(dim), vectors.astype(np.float32)
    index.add(entries.astype(np.float32))
    check(dtype, entries, vectors, ours.codes(), index.search(queries, 1)[1][:, 0])
    runs = max(3, int(2e8 / (VECTORS * count)) // 8)
    rounds = [(timed(lambda: index.search(queries, 1), runs), ours(runs)) for _ in range(args.rounds)]
    ratios = [theirs / own for theirs, own in rounds]
    theirs, own = (statistics.median(times) for times in zip(*rounds))
    rate = VECTORS * count * dim / own / 1e3
    ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
    share = f"{100 * rate / CEILINGS[dtype]:.0f} %"
    print_row(dtype, dim, count, f"{theirs:.0f}", f"{own:.0f}", ratio, f"{rate:.0f}", share)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dims", type=int, nargs="+", default=[4, 8, 64], metavar="D")
    parser.add_argument("--entries", type=int, nargs="+", default=[512, 1024, 4096, 16384], metavar="K")
    parser.add_argument("--backend", help="ours, instead of the fastest")
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    print(f"{cpu()}; {datetime.date.today()}; {args.rounds} rounds; load {os.getloadavg()[0]:.1f}; "
          f"faiss-cpu {faiss.__version__}\n")  # fmt: skip
    print_row("dtype", "D", "K", "faiss, us", "vq, us", "faiss / vq", "GMAC/s", "of the ceiling")
    print("|" + "---|" * 8)
    with tempfile.TemporaryDirectory() as folder:
        for dtype in CEILINGS:
            for dim in args.dims:
                for count in args.entries:
                    compare(dtype, count, dim, args, Path(folder))


main()
