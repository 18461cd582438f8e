"""Documents on the disk of the beamline's computer, until the service has stored them.

A run is a file of msgpack items [name, document], held by `flock` by the writer that it belongs
to: one that nobody holds was left by a writer that ended. What comes late, when the run was sent to
its stop, makes another file. Files of runs that were sent but have no
stop are kept in `open/`, those that the service refused in `failed/` with its answer.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgpack

from dbservice.errors import BrokerError

SUFFIX = ".msgpack"
OPEN, FAILED = "open", "failed"
LONGEST_ITEM = 2**31 - 1


class SpoolError(BrokerError, OSError):
    """A document could not be kept on disk: the run must not go on as if it were."""


def state_folder() -> Path:
    """~/.local/state/dbservice, or below $XDG_STATE_HOME."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "dbservice"


def spool_folder(server: str, catalog: str) -> Path:
    """Where runs for this catalog of a service are kept."""
    return state_folder() / "spool" / urlsplit(server).netloc.replace(":", "_") / catalog


def plain(value: Any) -> Any:
    """The same of Python's own types, as JSON would have it but for NaN and bytes.

    Numpy's scalars and arrays become numbers and lists, tuples lists, keys texts. TypeError for
    what has no such form.
    """
    kind = type(value)
    if kind in (str, float, int, bool, type(None), bytes):
        return value
    if isinstance(value, Mapping):
        return {k if type(k) is str else _key(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy's, and what behaves like it
        return plain(value.tolist())
    base = next((base for base in (str, int, float, bytes) if isinstance(value, base)), None)
    if base is not None:
        return base(value)
    raise TypeError(f"{kind.__name__} cannot be written")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    raise TypeError(f"a key of type {type(key).__name__} cannot be written")


@dataclass(frozen=True)
class Contents:
    """What a file holds. whole: bytes of whole items; behind them a crash may have left a part."""

    whole: int
    items: int
    ended: bool
    events: Mapping[str, int]
    """by stream"""


class SpoolFile:
    """The documents of one run, locked."""

    def __init__(self, path: Path, descriptor: int, size: int, *, ended: bool = False) -> None:
        self.path = path
        self.size = size
        """bytes of whole items"""
        self.ended = ended
        """has its stop"""
        self._descriptor = descriptor
        self._broken: OSError | None = None
        self._unsynced = False

    @property
    def run(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @classmethod
    def create(cls, folder: Path, run: str) -> SpoolFile:
        """A new file. SpoolError: there is one already, or none can be made."""
        path = folder / f"{quote(run, safe='')}{SUFFIX}"
        hidden = folder / f".{path.name}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
            descriptor = os.open(hidden, flags, 0o600)
            # Under its name only when it is locked, so that nobody takes it for one left behind.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                raise FileExistsError(0, "this run is in the spool already")
            hidden.rename(path)
            _sync_folder(folder)
        except OSError as error:
            with suppress(OSError):
                hidden.unlink()
            raise SpoolError(f"Cannot make the spool file {path}: {error.strerror}") from error
        return cls(path, descriptor, 0)

    @classmethod
    def adopt(cls, path: Path) -> SpoolFile | None:
        """A file that is there; None if somebody holds it, or it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not path.exists():  # its writer finished between the two
            os.close(descriptor)
            return None
        found = contents(path)
        os.ftruncate(descriptor, found.whole)
        return cls(path, descriptor, found.whole, ended=found.ended)

    def append(self, name: str, item: bytes) -> None:
        """Keeps an item. SpoolError if it, or an earlier one, could not be kept."""
        if self._broken is None:
            self._write(item)
        if self._broken is not None:
            reason = f"{self._broken.strerror or self._broken}: {self.path}"
            raise SpoolError(f"Cannot write the spool, so the run must end: {reason}")
        self.size += len(item)
        self._unsynced = True
        self.ended = self.ended or name == "stop"
        if name in ("start", "stop"):
            self.sync()

    def _write(self, item: bytes) -> None:
        left = memoryview(item)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            # What comes later would hide the gap, so nothing does.
            self._broken = error
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)

    def sync(self) -> None:
        """Everything so far survives a loss of power."""
        if self._unsynced:
            self._unsynced = False
            os.fsync(self._descriptor)

    def read(self, begin: int, size: int, items: int) -> list[bytes]:
        """At most so many bytes and items from a place on; at least one item."""
        end, length = self.size, min(size, self.size - begin)
        while True:
            found = list(_split(os.pread(self._descriptor, length, begin)))
            if found or length >= end - begin:
                break
            length = min(2 * length, end - begin)
        return found[:items]

    def move(self, folder: str, answer: Mapping[str, Any] | None = None) -> None:
        """Into a folder beside; with the answer of the service."""
        target = self.path.parent / folder
        target.mkdir(exist_ok=True, mode=0o700)
        if answer is not None:
            (target / f"{self.run}.json").write_text(json.dumps(answer, indent=2))
        self.path = self.path.replace(target / self.path.name)

    def restore(self) -> None:
        """Back from such a folder, to be sent."""
        if self.path.parent.name in (OPEN, FAILED):
            self.path.with_name(f"{self.run}.json").unlink(missing_ok=True)
            self.path = self.path.replace(self.path.parent.parent / self.path.name)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Lets others have the file."""
        os.close(self._descriptor)


def files_in(folder: Path) -> list[Path]:
    """Files to be sent, the oldest first."""
    found = [path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")]
    return sorted(found, key=_begun)


def _begun(path: Path) -> tuple[float, str]:
    try:
        return _start_time(path), path.name
    except OSError:  # gone meanwhile
        return math.inf, path.name


def _start_time(path: Path) -> float:
    with path.open("rb") as file:
        for item in msgpack.Unpacker(file, strict_map_key=False, max_buffer_size=LONGEST_ITEM):
            time = item[1].get("time")
            return float(time) if isinstance(time, (int, float)) else math.inf
    return math.inf


def contents(path: Path) -> Contents:
    """What a file holds, read to its end."""
    whole = items = 0
    ended, streams, events = False, dict[str, str](), dict[str, int]()
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file, strict_map_key=False, max_buffer_size=LONGEST_ITEM)
        for name, document in unpacker:
            # What does not begin with its start came late, behind a stop that is stored.
            ended = ended or name == "stop" or (not items and name != "start")
            whole, items = unpacker.tell(), items + 1
            if name == "descriptor":
                stream = document.get("name", "primary")
                streams[document.get("uid")] = stream
                events.setdefault(stream, 0)
            elif name in ("event", "event_page"):
                stream = streams.get(document.get("descriptor"), "primary")
                count = len(document["uid"]) if name == "event_page" else 1
                events[stream] = events.get(stream, 0) + count
    return Contents(whole, items, ended, events)


def _split(data: bytes) -> Iterator[bytes]:
    """The whole items of the bytes."""
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=LONGEST_ITEM)
    unpacker.feed(data)
    begin = 0
    with suppress(msgpack.OutOfData):
        while True:
            unpacker.skip()
            yield data[begin : unpacker.tell()]
            begin = unpacker.tell()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
