"""The parts of an audit: each has a share of the time, and says how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["COMPLETE", "STATUSES", "OutOfTime", "Parts", "Progress"]


STATUSES = {
    "done": "it came to its end",
    "not finished": "the time limit ran out while it ran: what it has is in the report",
    "interrupted": "Ctrl-C, or the callback, ended it: what it has is in the report",
    "not proved": "nothing can be proved for this victim, for the reason given",
    "failed": "it ended with an error",
    "not started": "the time limit ran out, or the audit was interrupted, before it began: nothing of it was run",
    "not asked": "the caller did not ask for it",
}
COMPLETE = "done", "not proved", "not asked"


class OutOfTime(Exception):
    """The share of a part is used up."""


@dataclass
class Part:
    """How a part of the audit ended."""

    name: str
    status: str
    message: str = ""
    seconds: float = 0.0


class Progress:
    """A bar on a terminal (tqdm's, where that is installed); nothing anywhere else."""

    def __init__(self, verbose, stream=None):
        stream = sys.stderr if stream is None else stream
        self.shown = bool(verbose) and stream.isatty()
        self.stream, self.bar, self.last, self.width = stream, None, 0.0, 0
        if self.shown:
            try:
                from tqdm import tqdm

                self.bar = tqdm(total=1000, file=stream, leave=False, bar_format="{desc} {bar:20} {elapsed}")
            except ImportError:
                pass

    def say(self, part, share, text=""):
        """Where the audit stands: the part, how much of all is done, and a word on it."""
        now = time.monotonic()
        if not self.shown or now - self.last < 0.1:
            return
        self.last = now
        line = f"{part}: {text}" if text else part
        if self.bar is not None:
            self.bar.n = round(1000 * min(1.0, share))
            self.bar.set_description_str(line[:70])
        else:
            self.stream.write(f"\r{line[:78]}\033[K")
            self.stream.flush()

    def close(self):
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.close()
        elif self.shown:
            self.stream.write("\r\033[K")
            self.stream.flush()


@dataclass
class Parts:
    """Runs the parts of an audit one after the other.

    Parameters
    ----------
    shares : dict of str to float
        The share of the time of each part, in their order: of what is left when a part begins it gets its share
        among those to come. So what one leaves over, or takes too much, all that follow share.
    time_limit : float or None
        Seconds for all of them.
    progress : Progress
    callback : callable, optional
        Told a dict (``part``, ``share``, ``text``); returning True ends the audit.
    """

    shares: dict
    time_limit: float | None
    progress: Progress
    callback: Callable | None = None
    begin: float = field(default_factory=time.monotonic)
    done: list = field(default_factory=list)
    stopped: bool = False
    deadline: float | None = None
    name: str = ""

    @property
    def seconds(self) -> float:
        """Since the audit began."""
        return time.monotonic() - self.begin

    def left(self) -> float | None:
        """Seconds that the running part has left; None without a limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check(self, text="", share=0.0):
        """Tell how far the part is; raise OutOfTime or KeyboardInterrupt if it must end."""
        before = sum(self.shares.get(part.name, 0.0) for part in self.done)
        told = (before + share * self.shares.get(self.name, 0.0)) / sum(self.shares.values())
        self.progress.say(self.name, told, text)
        if self.callback is not None and self.callback({"part": self.name, "share": told, "text": text}):
            raise KeyboardInterrupt
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise OutOfTime

    def begin_with(self, name, work):
        """Run a part without which there is no report: its errors are the caller's, and so is Ctrl-C."""
        self.name, start = name, time.monotonic()
        self.progress.say(name, 0.0)
        value = work(None)
        self.done.append(Part(name, "done", "", time.monotonic() - start))
        return value

    def run(self, name, work):
        """What ``work()`` returns, or None where it did not come to an end; its part is added to ``done``."""
        self.name, start = name, time.monotonic()
        if self.time_limit is not None:
            end = self.begin + self.time_limit
            to_come = sum(self.shares.values()) - sum(self.shares[part.name] for part in self.done)
            self.deadline = start + (end - start) * self.shares[name] / to_come
        part, value = Part(name, "done"), None
        try:
            if self.stopped:
                part.status = "not started"
            else:
                self.check()
                value = work(part)
        except KeyboardInterrupt:
            part.status, self.stopped = "interrupted", True
        except OutOfTime:
            part.status = "not finished" if time.monotonic() - start > 0.01 else "not started"
        except Exception as error:  # an audit goes on without a part that fails, and says so
            part.status, part.message = "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"
        part.seconds = time.monotonic() - start
        if part.status == "interrupted":
            self.stopped = True
        self.done.append(part)
        return value
