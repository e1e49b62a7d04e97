"""Our side of the comparisons: binaries."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def built(name, package="vq-benches"):
    """The path of a binary, brought up to date."""
    command = ["cargo", "build", "--release", "--quiet", "-p", package, "--bin", name]
    subprocess.run(command, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return ROOT / target / "release" / name
