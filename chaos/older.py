"""The package as it was before the tables changed for the last time, from the history of the source."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from demo.processes import ROOT

PACKAGE = "flask_webhooks"


def older_package(folder: Path) -> Path | None:
    """Unpack it below a folder; returns where to import it from, or ``None`` where there is no history."""
    try:
        changed = _git("log", "-1", "--format=%H", "--", f"{PACKAGE}/models.py").decode().strip()
        archive = _git("archive", f"{changed}^", PACKAGE)
    except (OSError, subprocess.CalledProcessError):
        return None
    target = folder / "older"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(target, filter="data")
    return target


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
