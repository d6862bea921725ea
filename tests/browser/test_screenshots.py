"""``make screenshots`` works, also what it does for the documentation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from tests.support.processes import ROOT


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pictures_of_the_documentation_are_drawn_anew(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.screenshots", "--docs", "--only", "phone"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=True)
    light, dark = (
        Image.open(tmp_path / "docs/images" / name) for name in ("phone.webp", "phone-dark.webp")
    )
    assert light.size == dark.size
    assert len(light.getcolors(light.width * light.height) or ()) > 100
    # The scheme of whoever looks decides.
    assert brightness(light) > 200
    assert brightness(dark) < 60


def brightness(picture: Image.Image) -> float:
    """The mean, from 0 to 255."""
    return ImageStat.Stat(picture.convert("L")).mean[0]
