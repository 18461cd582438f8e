"""What comes next behind a position of something that is followed."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

Item = tuple[str, Any]
"""what it is, such as the name of a document, and itself"""


class Followable(Protocol):
    """A position: what of something followed was sent."""

    def includes(self, name: str, content: Any, /) -> bool: ...

    def and_then(self, name: str, content: Any, /) -> Self: ...


@dataclass(frozen=True, kw_only=True)
class Following(ABC):
    """Items that come behind a position, not too many of them."""

    before: Any
    items: Sequence[Item]
    after: Any
    is_last: bool
    """there was nothing more when it was read"""

    @property
    @abstractmethod
    def is_end(self) -> bool:
        """There will be nothing more, ever."""

    @abstractmethod
    def further(self) -> "Following":
        """The page behind this one, as it is now."""

    @abstractmethod
    def text(self, choice: Any) -> bytes:
        """The items as server-sent events, as a reader has chosen them."""

    def opening(self) -> bytes:
        """What is sent in front of all to who begins behind this page."""
        return b""

    @abstractmethod
    def end(self) -> bytes:
        """What is sent behind the last page of all."""

    def seen_from(self, position: Any) -> Self:
        """The same for who is elsewhere, and has some of its items already."""
        at: Followable = position
        new = []
        for name, content in self.items:
            if not at.includes(name, content):
                at = at.and_then(name, content)
                new.append((name, content))
        return replace(self, before=position, items=new, after=at)


class SharedPage:
    """A page, and its text for each choice that a reader has made."""

    def __init__(self, page: Following) -> None:
        self.page = page
        self._texts: dict[Any, bytes] = {}

    def text(self, choice: Any) -> bytes:
        if choice not in self._texts:
            self._texts[choice] = self.page.text(choice)
        return self._texts[choice]
