"""Chromium by its DevTools protocol: a page at a phone's size, in light and dark, with keys pressed.

The protocol runs over a pipe, so that no port is opened and no library is needed.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
)
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Escape": 27}


class DevTools:
    """One tab of a running browser.

    Args:
        write: File descriptor that the browser reads commands from.
        read: File descriptor that it writes answers and events to.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def attach(self) -> Self:
        """Take the first tab."""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def open(self, page: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open an address in a window of this size; one narrower than 600 pixels is a phone's."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def enter_frame(self, seconds: float = 30.0) -> None:
        """Go on in the page's first frame of another origin, as soon as there is one."""
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        end = time.monotonic() + seconds
        while True:
            attached = [e["params"] for e in self.events if e["method"] == "Target.attachedToTarget"]
            frame = next((each for each in attached if each["targetInfo"]["type"] == "iframe"), None)
            if frame is not None:
                self._session = frame["sessionId"]
                return
            assert time.monotonic() < end, "the page has no frame of another origin"
            time.sleep(0.1)
            self.ask("1")

    def ask(self, script: str) -> Any:
        """Return what a script comes to in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 20.0) -> Any:
        """Ask until the answer is true, and return it."""
        end = time.monotonic() + seconds
        while not (answer := self.ask(script)):
            assert time.monotonic() < end, f"{script} did not become true"
            time.sleep(0.05)
        return answer

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_KEYS[key]
            )

    def screenshot(
        self, png: Path, *, top: int = 0, width: int | None = None, height: int | None = None
    ) -> None:
        """Save a picture of the page from so many pixels below its top on: all of it, or so much."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {
            "x": 0,
            "y": top,
            "width": width or size["width"],
            "height": height or size["height"] - top,
            "scale": 1,
        }
        # For more than the window shows the browser makes it larger, after which some pages load anew.
        beyond = clip["y"] + clip["height"] > self.ask("innerHeight")
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=beyond, clip=clip)
        png.write_bytes(base64.b64decode(answer["data"]))

    @property
    def errors(self) -> list[str]:
        """What went wrong in the page since it was opened."""
        return [
            event["params"]["exceptionDetails"]["text"]
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
        ]

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened, files and data apart."""
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        urls = [event["params"]["request"]["url"] for event in sent]
        return [url for url in urls if not url.startswith(("file:", "data:", "blob:"))]

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        session = {} if self._session is None else {"sessionId": self._session}
        message = {"id": self._number, "method": method, "params": params, **session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer.get('error')}"
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            received = os.read(self._read, 1 << 20)
            assert received, "the browser has ended"
            self._rest += received
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def devtools(executable: str, profile: Path) -> Iterator[DevTools]:
    """Run a browser, and end it.

    Args:
        executable: Its path.
        profile: An empty folder for what it keeps.
    """
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [executable, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    # The browser takes its commands on descriptor 3 and answers on 4; only bash takes those above 9.
    shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *command]
    process = subprocess.Popen(shell, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield DevTools(ours_out, ours_in).attach()
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(ours_out)
        os.close(ours_in)
