"""Running a study's driver as a program of its own, and killing it and what it started."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

_RUN_LIMIT: Final = 900.0  # seconds for a whole study, on a busy machine
_START_LIMIT: Final = 600.0  # seconds until a driver searches, on a busy machine
_GRACE: Final = 110.0  # seconds that a spot machine gives, less a few
# Seconds until what a killed driver started is gone. Most goes at once; Ray's agents look every now and then
# whether the node that they serve is still there.
_END_LIMIT: Final = 180.0

# What a fault is done to -> how its process calls itself.
VICTIMS: Final = {
    "worker": r"ray::RayTrainWorker|ray::_RayTrainWorker|TrainWorker",
    "group": r"ray::WorkerGroup",
    "controller": r"ray::TrainController",
    "pool": r"ray::WorkerPool",
    "trial": r"ray::ResourceTrainable|ray::RecipeTrainable",
}

# What a driver is at -> the line that it says when it begins with that; the last one first.
_PHASES: Final = {
    "finalists": r"finalists? to train again",
    "points": r"points? to evaluate",
    "trials": r"trials? to run",
}
_ENDED: Final = ("trials/*/trial.json", "points/*/point.json")  # how each ended, in a study's folder


@dataclass(frozen=True)
class Fault:
    """Something that was killed.

    Attributes:
        victim: A key of `VICTIMS`, `driver`, or `notice`: SIGTERM to the driver, as before a machine goes.
        after: Seconds since the last fault or the search's start.
        during: What the driver was at: see `_PHASES`.
    """

    victim: str
    after: float
    during: str


@dataclass
class Driver:
    """A running `recipe-search`.

    Attributes:
        process: The process.
        log: What it says.
        started: Every process that it was seen to have started.
    """

    process: subprocess.Popen[bytes]
    log: Path
    started: set[psutil.Process] = field(default_factory=set)

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, timeout: float = _START_LIMIT) -> None:
        """Wait until it says something.

        Raises:
            AssertionError: It ended or the time passed before.
        """
        end = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, f"ended before it said {pattern!r}:\n{self.text}"
            assert time.monotonic() < end, f"did not say {pattern!r} within {timeout:g} s:\n{self.text}"
            self.look()
            time.sleep(0.1)

    def wait_for_end(self, timeout: float = _RUN_LIMIT) -> None:
        """Wait until it ends.

        Raises:
            AssertionError: It does not.
        """
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < end, f"not done within {timeout:g} s:\n{self.text}"
            self.look()
            time.sleep(0.2)

    def wait_for_work(
        self, folder: Path, pattern: str, seconds: float, timeout: float = _START_LIMIT
    ) -> None:
        """Wait until a folder holds a file, and its worker has used so many more seconds of a processor.

        Raises:
            AssertionError: It ended or the time passed before.
        """
        end = time.monotonic() + timeout
        while not any(folder.glob(pattern)):
            assert self.process.poll() is None, f"ended without a {pattern}:\n{self.text}"
            assert time.monotonic() < end, f"no {pattern} within {timeout:g} s:\n{self.text}"
            self.look()
            time.sleep(0.05)
        (worker,) = self.find("worker")
        before = worker.cpu_times().user
        while worker.cpu_times().user - before < seconds:
            assert time.monotonic() < end, f"no work within {timeout:g} s:\n{self.text}"
            time.sleep(0.05)

    @property
    def phase(self) -> str:
        """What it is at."""
        return next((name for name, line in _PHASES.items() if re.search(line, self.text)), "start")

    @property
    def lines(self) -> list[str]:
        """What it has said so far, without what Ray says."""
        return [line for line in self.text.strip().splitlines() if "(raylet)" not in line]

    def look(self) -> list[psutil.Process]:
        """Return what it has started and still runs, and remember it."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        self.started.update(children)
        return children

    def find(self, victim: str) -> list[psutil.Process]:
        """Return the processes of a kind, oldest first."""
        found = []
        for each in self.look():
            try:
                if re.match(VICTIMS[victim], " ".join(each.cmdline())):
                    found.append((each.create_time(), each.pid, each))
            except psutil.Error:
                continue
        return [each for *_, each in sorted(found)]

    def kill(self) -> None:
        """Kill it with SIGKILL; what it started is left to itself."""
        self.look()
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Give it notice, and check that it ends in time and says how to go on.

        Raises:
            AssertionError: It does not.
        """
        self.look()
        self.process.terminate()
        assert self.process.wait(_GRACE) == 1, self.text
        assert "to go on: recipe-search resume" in self.text


_DRIVER: Final = {"driver": Driver.kill, "notice": Driver.terminate}


def check_gone(started: Iterable[psutil.Process]) -> None:
    """Check that processes have ended.

    Raises:
        AssertionError: One has not, after some time.
    """
    end = time.monotonic() + _END_LIMIT
    while left := [each for each in started if _lives(each)]:
        assert time.monotonic() < end, f"left after {_END_LIMIT:g} s: {[each.name() for each in left]}"
        time.sleep(0.2)


def _lives(process: psutil.Process) -> bool:
    """Return whether a process runs; one that has ended may wait for ever to be asked how."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def driver(words: Sequence[str], log: Path) -> Iterator[Driver]:
    """Start `recipe-search` on this machine alone, one thread a process; kill what is left on leaving.

    It ignores SIGINT, as whatever was started behind `nohup` or `&` does.

    Args:
        words: Its arguments.
        log: Where what it says goes.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    environment.pop("RAY_ADDRESS", None)
    root = Path(__file__).resolve().parents[1]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "search.cli", *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=log.parent,
        )
    running = Driver(process, log)
    try:
        yield running
    except BaseException:
        running.kill()
        for each in filter(_lives, running.started):
            each.kill()
        raise


def run_to_its_end(words: Sequence[str], log: Path, timeout: float = _RUN_LIMIT) -> str:
    """Run `recipe-search`, expect success, and check that no process is left; return what it said."""
    with driver(words, log) as running:
        running.wait_for_end(timeout)
        assert running.process.returncode == 0, running.text
        check_gone(running.started)
        return running.text


def run_with_faults(
    study: Path,
    log: Path,
    *,
    seed: int,
    victims: Sequence[str],
    faults: int,
    pause: tuple[float, float],
    progress: int = 0,
    since: str | None = None,
) -> list[Fault]:
    """Run a study to its end while victims are killed; a killed driver's study is taken up again.

    Args:
        study: The study file.
        log: Where what the last driver says goes; those before it get a number at its end.
        seed: Decides who is killed, and when.
        victims: What may be done: see `Fault.victim`.
        faults: How many are.
        pause: Least and most seconds between two faults.
        progress: Most lines that the driver has to say first; without any, faults come faster than progress.
        since: The phase from which on they come; None is from the start.

    Returns:
        What was done, in order.
    """
    chance = random.Random(seed)
    done: list[Fault] = []
    started: set[psutil.Process] = set()
    ended: dict[Path, bytes] = {}
    while True:
        with driver(["run", str(study)], log) as running:
            begun = "loading the base|taking up" if since is None else _from(since)
            running.wait_for(f"{begun}|selected recipe|has finished")
            while len(done) < faults and running.process.poll() is None:
                victim, pause_now = chance.choice(list(victims)), chance.uniform(*pause)
                lines = chance.randint(0, progress) if progress else 0
                if (fault := _strike(running, victim, pause_now, lines, chance)) is None:
                    break
                done.append(fault)
                if victim in _DRIVER:
                    break
            running.wait_for_end()
        started |= running.started
        # What had ended before holds its times, and so tells whether it was done again.
        assert {path: path.read_bytes() for path in ended} == ended
        if running.process.returncode == 0:
            check_gone(started)
            return done
        assert done[-1].victim in _DRIVER, running.text
        log.rename(log.with_name(f"{log.name}.{len(done)}"))
        for kind in _ENDED:
            ended |= {path: path.read_bytes() for path in study.parent.glob(f"runs/*/{kind}")}
        # It may have been writing just then.
        for trials in study.parent.glob("runs/*/trials"):
            (trials / ".trial.json.left.1.1.tmp").write_bytes(b"half")


def _from(phase: str) -> str:
    """Return how a driver says that it begins with a phase, or with a later one."""
    names = list(_PHASES)
    return "|".join(_PHASES[name] for name in names[: names.index(phase) + 1])


def _strike(running: Driver, victim: str, pause: float, lines: int, chance: random.Random) -> Fault | None:
    """Wait, and then until there is a victim of a kind, and kill it; None where the driver ended before."""
    began, said = time.monotonic(), len(running.lines)
    while running.process.poll() is None:
        running.look()
        passed = time.monotonic() - began
        if len(running.lines) < said + lines:
            time.sleep(0.05)
            continue
        if victim == "trial" and running.phase in ("points", "finalists"):
            victim = "worker"  # Tune has no trials any more
        found = [] if victim in _DRIVER else running.find(victim)
        if passed >= pause and (found or victim in _DRIVER):
            fault = Fault(victim, round(passed, 2), running.phase)
            if not found:
                _DRIVER[victim](running)
                return fault
            with suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                chance.choice(found).kill()
                return fault
        time.sleep(0.05)
    return None
