"""Our side of the comparisons: binaries of the package vq-benches."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def built(name):
    """The path of a binary, brought up to date."""
    command = ["cargo", "build", "--release", "-p", "vq-benches", "--bin", name]
    subprocess.run(command, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return ROOT / target / "release" / name
