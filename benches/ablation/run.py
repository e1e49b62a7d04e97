"""Adversarial training with and without each of its cures: trains every variant with several seeds, and prints a table.

    python3 benches/ablation/run.py --out runs/ablation
    python3 benches/ablation/run.py --data photos/ --validation test-photos/ --out runs/ablation --only default "fixed weight"

Without --data, the photos of this repository. Runs that are done are not repeated: after an interruption, the same
command goes on. VQ_LPIPS may name the weights of LPIPS, which then judges too; no run is trained by it.
"""

import argparse
import json
import shlex
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PHOTOS = ROOT / "vq-train" / "photos"

# What a variant adds to [gan]; None leaves the discriminator out.
VARIANTS = {
    "no discriminator": None,
    "default": "",
    "without LeCAM": "lecam = 0.0",
    "discriminator learns from `start` on": "learns_from = 700",
    "fixed weight": "adaptive = false",
    "spectral norm": 'discriminator.norm = "spectral"',
    "none of the cures": "lecam = 0.0\nlearns_from = 700\nadaptive = false\npause_below = 0.0",
}
SIZE = "64x64"
# The end of a run, by which its discriminator is judged.
LAST = 500


def config(added):
    text = (HERE / "base.toml").read_text()
    return text.rpartition("[gan]")[0] if added is None else text + added + "\n"


def trained(vq, args, added, folder, seed):
    """Trains and measures one run, unless its figures are there; None if training failed."""
    figures = folder / "figures.json"
    if not figures.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "variant.toml").write_text(config(added))
        train = [*vq, "train", folder / "variant.toml", "--out", folder / "run", "--seed", str(seed), "--resume"]
        train += ["--data", args.data.resolve(), "--threads", str(args.threads)]
        train += ["--validation", args.validation.resolve()] if args.validation else []
        with open(folder / "train.log", "a") as log:
            failed = subprocess.run(train, stderr=log, cwd=ROOT).returncode != 0
        if failed:
            return None
        model = folder / "model.vqm"
        export = [*vq, "export", folder / "run", "-o", model, "--dtype", "f32"]
        subprocess.run(export, check=True, cwd=ROOT, capture_output=True)
        measure = [*vq, "eval", args.judged.resolve(), "-m", model, "--size", SIZE, "--json"]
        done = subprocess.run(measure, check=True, cwd=ROOT, stdout=subprocess.PIPE)
        figures.write_bytes(done.stdout)
    return json.loads(figures.read_text()) | health(folder / "run" / "log.jsonl")


def health(log):
    """What a run's log says of the contest."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    skipped = sum(line["kind"] == "event" and line["event"] in ("skipped", "lowered") for line in lines)
    steps = [line for line in lines if line["kind"] == "step" and "d_real" in line]
    if not steps:
        return {"skipped": skipped}
    last = [line for line in steps if line["step"] > steps[-1]["step"] - LAST]
    return {
        "skipped": skipped,
        "gap": statistics.mean(line["d_real"] - line["d_fake"] for line in last),
        "paused": statistics.mean(bool(line["d_paused"]) for line in steps),
    }


def cell(runs, field, digits, factor=1):
    """Mean and spread over the runs that have the field."""
    values = [factor * run[field] for run in runs if run.get(field) is not None]
    if not values:
        return ""
    spread = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.{digits}f} +-{spread:.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=PHOTOS / "train", help="folder to train on")
    parser.add_argument("--validation", type=Path, help="folder to validate and to judge on [default: vq-train/photos/demo]")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--vq", default="cargo run --release --quiet --", help="the program [default: %(default)s]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="VARIANT", help="one of: " + "; ".join(VARIANTS))
    args = parser.parse_args()
    args.judged = args.validation or PHOTOS / "demo"
    vq = shlex.split(args.vq)
    print("| variant | lost | PSNR, dB | SSIM | LPIPS | SSIMULACRA2 | D(real) - D(fake) | paused, % | skipped steps |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in args.only or VARIANTS:
        folder = args.out.resolve() / "".join(c if c.isalnum() else "-" for c in name)
        seeds = range(1, args.seeds + 1)
        runs = [trained(vq, args, VARIANTS[name], folder / f"seed-{seed}", seed) for seed in seeds]
        good = [run for run in runs if run is not None]
        cells = [
            name,
            f"{len(runs) - len(good)} of {len(runs)}",
            cell(good, "psnr", 2),
            cell(good, "ssim", 3),
            cell(good, "lpips", 3),
            cell(good, "ssimulacra2", 1),
            cell(good, "gap", 2),
            cell(good, "paused", 0, 100),
            str(sum(run["skipped"] for run in good)),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
