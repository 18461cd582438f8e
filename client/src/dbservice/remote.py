"""Arrays at the service, of which only what is sliced comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dbservice import arrays, notebook, reading
from dbservice.arrays import Extent
from dbservice.errors import MissingExtra
from dbservice.progress import bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dbservice.runs import Stream
    from dbservice.session import Session

MASKED_BYTES = 64 * 2**20
"""largest array that is fetched whole for an index that the service does not know"""


class Array:
    """An array at the service: only what is sliced out of it comes. The first axis is the event."""

    def __init__(self, stream: Stream, field: str, extent: Extent | None = None) -> None:
        self._session = stream._session
        self._stream = stream
        self._path = reading.array_path(stream, field)
        self._extent = extent
        self.name = field

    @property
    def _whole(self) -> Extent:
        if self._extent is None:
            self._extent = self._session.do(arrays.extent(self._path))
        return self._extent

    @property
    def shape(self) -> tuple[int, ...]:
        return self._whole.shape

    @property
    def dtype(self) -> Any:
        return arrays.numpy().dtype(self._whole.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self._whole.nbytes

    @property
    def size(self) -> int:
        return self.nbytes // self._whole.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: object) -> Any:
        """As numpy; numbers and slices are read alone, in pieces of 32 MB, four at a time."""
        try:
            axes = arrays.axes_of(index, self.shape)
        except TypeError:
            if self.nbytes > MASKED_BYTES:
                raise IndexError(
                    f"{self.name} is sliced by numbers and slices only; read what you need of it"
                    f" first: run.data({self.name!r})[:100]"
                ) from None
            return self[...][index]
        return _plain(_read(self._session, self._path, self._whole, tuple(_items(axes)), self.name))

    def __iter__(self) -> Iterator[Any]:
        """Event by event, read some at a time."""
        row = max(1, self.nbytes // max(1, len(self)))
        step = max(1, 4 * arrays.CHUNK // row)
        for begin in range(0, len(self), step):
            yield from self[begin : begin + step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return arrays.numpy().asarray(self[...], dtype)  # type: ignore[no-any-return]

    def asarray(self) -> NDArray[Any]:
        """All of it, in memory."""
        return self.__array__()

    def dask(self, chunks: Any = "auto", *, workers: bool | None = None) -> Any:
        """A lazy dask array; chunks of some frames, of about 16 MB.

        workers: whether other processes compute it; they get a token that reads data of this run's
        proposal for eight hours. None: if a client of dask.distributed is there.
        """
        try:
            import dask.array
        except ImportError:
            raise MissingExtra("dask", "dask") from None
        np = arrays.numpy()
        source = self._for_workers() if workers or (workers is None and _distributed()) else self
        name = f"{self.name}-{dask.base.tokenize(self._session.options.server, self._path)}"
        meta = np.empty((0,) * self.ndim, self.dtype)
        shapes = arrays.chunks(self.shape, self.dtype.itemsize) if chunks == "auto" else chunks
        lazy: Any = dask.array
        return lazy.from_array(source, shapes, name=name, meta=meta)

    def _for_workers(self) -> Array:
        """The same for other processes, which share one token for each proposal."""
        session, run = self._session, self._stream._run
        worker = session.for_workers(
            (run.catalog, run.proposal), lambda: session.do(reading.worker_token(run))
        )
        return _array_again(worker, self._path, self.name, self._whole)

    def show(
        self,
        frame: int | None = 0,
        *,
        min: float | None = None,
        max: float | None = None,
        cmap: str | None = None,
        log: bool | None = None,
    ) -> notebook.Picture:
        """The service's picture of a frame; min and max: the values that are darkest, brightest."""
        options = {"min": min, "max": max, "cmap": cmap, "log": log}
        steps = reading.picture(self._stream, self.name, frame, options)
        return notebook.Picture(self._session.do(steps))

    def __repr__(self) -> str:
        if self._extent is None:
            return f"<Array {self.name}>"
        return f"<Array {self.name} {self._extent.dtype} {list(self._extent.shape)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _array_again, (self._session, self._path, self.name, self._extent)


def _array_again(session: Session, path: str, name: str, extent: Extent | None) -> Array:
    array = Array.__new__(Array)
    array._session, array._path, array.name, array._extent = session, path, name, extent
    return array


def _items(axes: Sequence[arrays.Axis]) -> Iterator[int | slice]:
    for axis in axes:
        if isinstance(axis, int):
            yield axis
        else:
            yield slice(axis.start, axis.stop if axis.stop >= 0 else None, axis.step)


def _plain(values: NDArray[Any]) -> Any:
    return values if values.ndim else values[()]


def _read(session: Session, path: str, whole: Extent, index: object, label: str) -> NDArray[Any]:
    total = arrays.numpy().dtype(whole.dtype).itemsize
    for length in arrays.shape_of(arrays.axes_of(index, whole.shape)):
        total *= length
    with bar(total, label, wanted=session.options.progress) as meter:
        return session.do(arrays.read(path, whole, index, meter))


def _distributed() -> bool:
    """Whether a client of dask.distributed is there, without loading it."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.default_client()
    except ValueError:
        return False
    return True
