"""What several test folders share: the checkout's paths and a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send a file's tests to one process, and a folder's that starts Ray, servers or browsers."""
    from xdist.scheduler import LoadScopeScheduling

    class OneRayEach(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = nodeid.split("/")[1]
            return folder if folder in ("integration", "e2e") else nodeid.split("::")[0]

    return OneRayEach(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; torch is imported only if such a test was collected."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no GPU here"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's folder."""
    return ROOT


@dataclass(frozen=True, kw_only=True)
class Browser:
    """Headless Chromium; each look starts one with an empty profile and waits until it has ended.

    Attributes:
        executable: The browser's path.
        new_profile: Makes a new empty folder.
        timeout: Seconds that one look may take.
    """

    executable: str
    new_profile: Callable[[], Path]
    timeout: float = 90.0

    def screenshot(self, page: str | Path, png: Path, *, width: int = 1280, height: int = 1600) -> Path:
        """Save what a page (an address or a local file) looks like, and return the picture's path."""
        self._look(page, f"--screenshot={png}", f"--window-size={width},{height}")
        assert png.is_file(), f"the browser made no picture of {page}"
        return png

    def dump_dom(self, page: str | Path) -> str:
        """Return a page's document as HTML after its scripts have run."""
        return self._look(page, "--dump-dom")

    def _look(self, page: str | Path, *options: str) -> str:
        command = [
            self.executable,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            # Milliseconds of page time: lets scripts draw before the page is looked at.
            "--virtual-time-budget=10000",
            f"--user-data-dir={self.new_profile()}",
            *options,
            page.resolve().as_uri() if isinstance(page, Path) else page,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=self.timeout, check=False)
        assert done.returncode == 0, f"the browser failed on {page}:\n{done.stderr[-2000:]}"
        return done.stdout


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A real browser; without one the test is skipped, but under CI=true it fails."""
    found = next((path for name in _CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        message = f"no browser on the PATH (looked for {', '.join(_CHROMIUM_NAMES)})"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return Browser(executable=found, new_profile=lambda: tmp_path_factory.mktemp("chromium"))
