"""Compares the target of a NAR with the Python that runs it.

The libraries of a NAR are compiled for one Python and one kind of machine. NiFi does not look at that, and the first
library that cannot be loaded says so in words of its own, so this is asked before anything compiled is imported.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

from imagewarehouse.errors import ConfigurationError

MARKER = Path(__file__).parent.parent / "_bundle.json"
"""{"python": "3.11", "platform": "linux-x86_64", "variant": "core"}; only a NAR has it (tools/nar.py)."""


def problem(marker: Path = MARKER) -> str | None:
    """Why this Python cannot run the bundled libraries, in one line; None where it can, or where none are bundled."""
    try:
        packed = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    python, platform = f"{sys.version_info[0]}.{sys.version_info[1]}", sysconfig.get_platform()
    if (packed["python"], packed["platform"]) == (python, platform):
        return None
    return (
        f"this NAR is packed for Python {packed['python']} on {packed['platform']}, and NiFi runs Python {python} on"
        f" {platform}: set it to another Python, or pack with `make nar PYTHON_VERSION={python} PLATFORM={platform}`"
    )


def check() -> None:
    """Raises ConfigurationError with the `problem`, if there is one."""
    reason = problem()
    if reason is not None:
        raise ConfigurationError("nifi.python.command", reason)
