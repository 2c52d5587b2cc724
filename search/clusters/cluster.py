"""Connecting to Ray: the cluster of `RAY_ADDRESS`, or one started here for the time of a study."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from search.clusters.devices import DRIVER_RESOURCE, LOCAL_DRIVERS
from search.phases.study_failed import StudyFailed
from search.settings.user_input import InputError

_HOW: Final[Mapping[str, Any]] = {
    "namespace": "recipe-search",
    "log_to_driver": False,
    "logging_level": logging.ERROR,
    "configure_logging": True,
}


def cluster_address() -> str | None:
    """Return the address of the cluster to join, or None to start one here."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "local") else address


@contextmanager
def connected() -> Iterator[Mapping[str, float]]:
    """Connect to Ray, and disconnect or end what was started on leaving.

    Yields:
        The cluster's total resources.

    Raises:
        InputError: `RAY_ADDRESS` names a cluster that can't be reached.
        StudyFailed: None is named, and Ray does not start here.
    """
    # Tune and Train announce themselves and their advice on every run; errors still come through.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Worker groups are many small processes by design, about which Ray would warn on a small machine.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "16")
    import ray

    # A failed trial is shown and recorded with its reason; Tune would print its traceback on top.
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    address = cluster_address()
    try:
        if address is None:
            _start()
        else:
            _join(address)
    # What Ray's own handler of SIGTERM raises.
    except SystemExit:
        raise KeyboardInterrupt from None
    try:
        with _interrupting():
            yield ray.cluster_resources()
    finally:
        ray.shutdown()


@contextmanager
def _interrupting() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C interrupt what is done in the context, whatever they meet there.

    A node that is about to be taken away says so with SIGTERM, upon which Ray would exit at once; an
    interrupt leaves what can be gone on with. Behind `nohup` or `&` SIGINT is ignored, and stays so.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    caught = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        caught.append(signal.SIGINT)
    before = {each: signal.signal(each, interrupt) for each in caught}
    try:
        yield
    except Exception:
        # Libraries may make another error of an interrupt, such as Optuna where it gives back a lock.
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address=address, **_HOW)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"RAY_ADDRESS: no Ray cluster at {address}: {_one_line(error)}") from None


def _start() -> None:
    import ray

    own = {DRIVER_RESOURCE: LOCAL_DRIVERS}
    try:
        ray.init(address="local", resources=own, include_dashboard=False, **_HOW)
    # Where its processes are not up within half a minute Ray raises a plain `Exception`.
    except Exception as error:
        raise StudyFailed(
            f"Ray did not start: {_one_line(error)}. Where the machine is very busy, try again: Ray's "
            "processes must be up within 30 s"
        ) from error


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
