"""What is remembered between two starts: servers, people, and their refresh tokens.

Secrets go into the keyring of the operating system if the library `keyring` finds one, else into
a file that only its owner can read. Whoever renews a token holds the lock of its server meanwhile,
because a refresh token works once.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SERVICE = "dbservice"


def config_folder() -> Path:
    """~/.config/dbservice, or below $XDG_CONFIG_HOME."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "dbservice"


class TokenStore:
    """By server and user. folder: for tokens.json and its locks; made when needed."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or config_folder()
        self.path = self.folder / "tokens.json"

    def last_server(self) -> str | None:
        """Where somebody signed in last."""
        last: str | None = self._read().get("last")
        return last

    def last_user(self, server: str) -> str | None:
        """Who signed in last at a server."""
        user: str | None = self._at(self._read(), server).get("user")
        return user

    def refresh_token(self, server: str, user: str) -> str | None:
        keyring = _keyring()
        if keyring is not None:
            with suppress(Exception):  # a locked or broken keyring is as good as none
                if found := keyring.get_password(_service(server), user):
                    return str(found)
        found = self._at(self._read(), server).get("tokens", {}).get(user)
        return None if found is None else str(found)

    def remember(self, server: str, user: str, refresh: str, *, signed_in: bool = False) -> None:
        """Keeps a refresh token. signed_in: and that this user did so last, at this server."""
        in_keyring = _set_in_keyring(server, user, refresh)
        with self.locked("tokens"):
            content = self._read()
            entry = content.setdefault("servers", {}).setdefault(server, {})
            tokens = entry.setdefault("tokens", {})
            tokens.pop(user, None)
            if not in_keyring:
                tokens[user] = refresh
            if signed_in:
                entry["user"], content["last"] = user, server
            self._write(content)

    def forget(self, server: str, user: str) -> None:
        """Drops the token of a user; the server stays the last one."""
        keyring = _keyring()
        if keyring is not None:
            with suppress(Exception):  # it may not be there
                keyring.delete_password(_service(server), user)
        if not self._at(self._read(), server):
            return
        with self.locked("tokens"):
            content = self._read()
            entry = self._at(content, server)
            entry.get("tokens", {}).pop(user, None)
            if entry.get("user") == user:
                del entry["user"]
            self._write(content)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Alone among all processes of this account that use the same name."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        with open(self.folder / f"{digest}.lock", "a+b") as file, file_lock(file):
            yield

    @staticmethod
    def _at(content: dict[str, Any], server: str) -> dict[str, Any]:
        entry = content.get("servers", {}).get(server, {})
        return entry if isinstance(entry, dict) else {}

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, content: dict[str, Any]) -> None:
        """At once or not at all, readable by the owner only from its first byte on."""
        descriptor, name = tempfile.mkstemp(dir=self.folder)  # 0600
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=1)
        os.replace(name, self.path)


def _set_in_keyring(server: str, user: str, refresh: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_service(server), user, refresh)
    except Exception:  # a locked or broken keyring is as good as none
        return False
    return True


def _service(server: str) -> str:
    return f"{SERVICE} {server}"


def _keyring() -> Any:
    """The library, if it is installed and has somewhere to keep secrets."""
    try:
        import keyring
    except ImportError:
        return None
    try:
        usable = keyring.get_keyring().priority >= 1
    except Exception:  # backends raise what they like
        return None
    return keyring if usable else None


@contextmanager
def file_lock(file: Any) -> Iterator[None]:
    """Holds an open file against all other processes; the system lets go when one dies."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
