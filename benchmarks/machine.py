"""The conditions of a measurement, in words."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "ai-edge-litert", "duckdb", "pillow"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{len(names)} x {names[0] if names else platform.machine()}, Python {platform.python_version()}, {packages};"
        f" load before: {load}; client and service share the cores"
    )
