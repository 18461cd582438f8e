"""External files: what a resource names, where it may lie, and who reads it.

Nothing here opens a file. Paths come from documents that anybody at a beamline may have written, so
every one is resolved (``realpath``) and must lie inside the catalog's allowed roots before it is
opened. Errors name the resource's uid and spec, never a path of the server.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar

import numpy as np

from broker_site import media_types

ALL_HANDLERS = "*"
HANDLER_GROUP = "databroker.handlers"
SERVED_KINDS = "biuf"
MAX_ITEMSIZE = 8

Kwargs = Mapping[str, Any]


class AssetError(Exception):
    """A file that cannot be served; `status` is the HTTP answer the contract wants for it."""

    status: ClassVar[int] = 410

    def __init__(self, uid: str, spec: str, reason: str) -> None:
        super().__init__(f"Resource {uid} ({spec}): {reason}")
        self.uid, self.spec, self.reason = uid, spec, reason


class AssetMissing(AssetError):
    """The file is not there."""


class AssetUnreadable(AssetError):
    """The file is there, but broken, too slow, or it brought its reader down."""


class AssetRefused(AssetError):
    """The resource leads out of the allowed roots; nothing was opened."""


class AssetTooLarge(AssetError):
    """One indivisible piece of the file is larger than a reader may hold."""

    status = 413


class HandlerMissing(AssetError):
    """No handler for the spec is installed, or the catalog does not allow it."""

    status = 501


class UnsupportedDtype(AssetError):
    """Objects, strings and the like have no array format."""

    status = 406


class RaggedEvents(AssetError):
    """Events of different shapes: no array holds them, and nothing is padded."""

    status = 409


class OutsideDatabase(Exception):
    """The data were recorded by reference that this database never received (``STREAM:``)."""

    status: ClassVar[int] = 501

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key!r} was recorded outside this database: its data key says STREAM: and no stored "
            "document refers to its files. Ask the beamline for them."
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource document, as far as reading needs it."""

    uid: str
    spec: str
    root: str
    path: str
    kwargs: Kwargs = field(default_factory=dict, hash=False)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Resource":
        """From a stored document; old ones have no `uid` and are known by their `_id`."""
        return cls(
            uid=str(document.get("uid", document.get("_id"))),
            spec=str(document.get("spec", "")),
            root=str(document.get("root") or ""),
            path=str(document.get("resource_path") or ""),
            kwargs=document.get("resource_kwargs") or {},
        )


@dataclass(frozen=True, slots=True)
class Datum:
    """What one event refers to: a resource and the keywords that point into it."""

    resource: Resource
    kwargs: Kwargs = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Layout:
    """What one event holds: shape, dtype as served, and the pieces that are read as a whole."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]


class OutsideRoots(Exception):
    """A path that leads out of the allowed roots. Never shown to clients."""


class NeedsProposal(OutsideRoots):
    """A path inside the roots that belongs to this proposal, which has not been admitted."""

    def __init__(self, proposal: str) -> None:
        super().__init__(proposal)
        self.proposal = proposal


class ProposalNeeded(AssetError):
    """The file belongs to a proposal; whether the caller may read it, the access decides."""

    proposal = ""


@dataclass(frozen=True, slots=True)
class Roots:
    """Where a catalog's files lie here, and outside of which none is opened.

    proposal_pattern: a regular expression whose one group finds, in a real path, the proposal that
    the file belongs to; admitted: the proposals whose files may be opened.
    """

    root_map: Mapping[str, str]
    allowed: tuple[str, ...]
    proposal_pattern: str | None = None
    admitted: frozenset[str] = frozenset()

    def locate(self, resource: Resource) -> str:
        """The real path of a resource (a file, a directory or a prefix of names).

        Raises
        ------
        OutsideRoots
            The path is absolute, climbs, is a URL, holds NUL, or ends outside the allowed roots.
        """
        climbs = ".." in resource.path.split("/")
        if os.path.isabs(resource.path) or climbs or "://" in resource.path:
            raise OutsideRoots(resource.path)
        return self.inside(os.path.join(self._mounted(resource.root), resource.path))

    def _mounted(self, recorded: str) -> str:
        """Where a recorded root is here: what the longest mapped folder above it says."""
        root = recorded.rstrip("/")
        for folder in sorted(self.root_map, key=len, reverse=True):
            above = folder.rstrip("/")
            if root == above or root.startswith(f"{above}/"):
                return self.root_map[folder].rstrip("/") + root[len(above) :]
        return recorded

    def inside(self, path: str) -> str:
        """The real path, if it lies inside an allowed root.

        Raises
        ------
        OutsideRoots
            It does not, or it is no absolute path.
        NeedsProposal
            It belongs to a proposal that is not admitted.
        """
        if "\0" in path or not os.path.isabs(path):
            raise OutsideRoots(path)
        real = os.path.realpath(path)
        for root in map(os.path.realpath, self.allowed):
            if os.path.commonpath((root, real)) == root:
                self._check_proposal(real)
                return real
        raise OutsideRoots(path)

    def _check_proposal(self, real: str) -> None:
        found = re.search(self.proposal_pattern, real) if self.proposal_pattern else None
        if found and found.group(1) not in self.admitted:
            raise NeedsProposal(found.group(1) or "")


SAME_FILES = {
    media_types.HDF5: "AD_HDF5",
    "multipart/related;type=image/tiff": "AD_TIFF",
    "multipart/related;type=application/x-npy": "NPY_SEQ",
}
"""media types of stream_resources, and the specs by which the same kinds of files are read"""


def allowed(spec: str, handlers: frozenset[str]) -> bool:
    """Whether the catalog's allow-list admits the spec, or another for the same kind of file."""
    return spec in handlers or ALL_HANDLERS in handlers or SAME_FILES.get(spec) in handlers


@cache
def installed_handlers() -> frozenset[str]:
    """The specs for which a handler is installed."""
    return frozenset(entry_points(group=HANDLER_GROUP).names)


@cache
def load_handler(spec: str) -> Any:
    """The handler class that is installed for a spec, or None."""
    found = entry_points(group=HANDLER_GROUP, name=spec)
    return next(iter(found)).load() if found else None


def is_served(dtype: np.dtype[Any]) -> bool:
    """Whether values of this type have array formats: booleans, integers, floats."""
    return dtype.kind in SERVED_KINDS and dtype.itemsize <= MAX_ITEMSIZE


def served_dtype(resource: Resource, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The little-endian type in which the array is served.

    Raises
    ------
    UnsupportedDtype
        Anything but booleans, integers and floats of at most 8 bytes.
    """
    if not is_served(dtype):
        raise UnsupportedDtype(
            resource.uid, resource.spec, f"values of type {dtype} cannot be served as an array."
        )
    return np.dtype(f"<{dtype.kind}{dtype.itemsize}")
