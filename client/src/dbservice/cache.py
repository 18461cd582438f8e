"""Copies of answers about complete runs, asked about again (304) instead of sent again.

Metadata is kept in memory; slices of arrays and tables on disk, if that is wanted. A copy belongs
to a server and a user, and is given only after the service has said that it is still right.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from dbservice.tokens import file_lock
from dbservice.wire import Request, Response

RUNS_IN_MEMORY = 500
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
Kept = tuple[str, Response]


class Cache(Protocol):
    def get(self, key: str) -> Kept | None: ...
    def put(self, key: str, etag: str, response: Response) -> None: ...


class MemoryCache:
    """The answers used last."""

    def __init__(self, entries: int = RUNS_IN_MEMORY) -> None:
        self._entries = entries
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Kept | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, etag: str, response: Response) -> None:
        with self._lock:
            self._kept[key] = (etag, response)
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)


class DiskCache:
    """Files of a header line and the content. Many processes may share the folder."""

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self._size = size
        self._folder = folder or cache_folder()

    def get(self, key: str) -> Kept | None:
        path = self._path(key)
        try:
            head, _, content = path.read_bytes().partition(b"\n")
            about = json.loads(head)
            os.utime(path)  # used last
        except (OSError, ValueError):
            return None
        if about["bytes"] != len(content):
            return None
        return about["etag"], Response(200, about["headers"], content)

    def put(self, key: str, etag: str, response: Response) -> None:
        if len(response.content) > self._size // 4:
            return
        about = {"etag": etag, "headers": _worth_keeping(response), "bytes": len(response.content)}
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".new")  # 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(about).encode() + b"\n" + response.content)
        os.replace(name, self._path(key))
        self._make_room()

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.kept"

    def _make_room(self) -> None:
        """Removes what was used longest ago; one process at a time."""
        with open(self._folder / "lock", "a+b") as lock, file_lock(lock):
            files = sorted(_entries(self._folder), reverse=True)
            total = 0
            for _, size, path in files:
                total += size
                if total > self._size:
                    path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterable[tuple[float, int, Path]]:
    for path in folder.glob("*.kept"):
        try:
            about = path.stat()
        except FileNotFoundError:  # another process made room
            continue
        yield about.st_mtime, about.st_size, path


def _worth_keeping(response: Response) -> dict[str, str]:
    names = ("content-type", "x-array-shape", "x-array-dtype", "warning")
    return {name: response.headers[name] for name in names if name in response.headers}


def cache_folder() -> Path:
    """~/.cache/dbservice, or below $XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dbservice"


def size_of(text: str | int) -> int:
    """Bytes of `"1GB"`, `"500 MB"` or a number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", str(text), re.IGNORECASE)
    if not match:
        raise ValueError(f"cache: {text!r} is no size; use for instance 1GB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def key_of(server: str, identity: str, request: Request) -> str:
    return f"{server}\n{identity}\n{request.name}"
