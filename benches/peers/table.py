"""What the tables of all comparisons have in common."""

import platform
from pathlib import Path


def cpu():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} logical CPUs" if names else platform.processor()


def print_row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
