"""Many runs as one zip, streamed: a folder for each run, and `runs.csv` at the end.

Nothing of it is held but one run's file at a time. A run that cannot be written, or one of its
files, is named in `runs.csv` with the reason; the zip is whole all the same.
"""

import csv
import io
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zipfile import ZIP_DEFLATED

import structlog
from zipstream import ZipStream

from broker_site.connection import ClientLeft
from broker_site.problems import as_problem
from events.columns.columns import read_columns
from events.columns.formats import ENCODERS
from events.documents import WRITERS, Emission
from events.left_out import LeftOut
from events.repositories import Events
from events.stream import Stream
from events.streaming import safe_name, started
from events.views import as_file_problem, written_nexus
from headers import views
from headers.catalogs import Catalog
from headers.repositories import Run
from headers.streams import stream_name
from headers.summaries import summarize

log = structlog.get_logger(__name__)

FILES = ("h5", "ndjson", "csv")
"""what a folder may hold: the run in NeXus layout, its documents, a table a stream"""
COLUMNS = (
    *("folder", "uid", "catalog", "proposal", "scan_id", "plan_name", "sample", "began"),
    *("seconds", "status", "included", "left_out"),
)
TEXT = {"compress_type": ZIP_DEFLATED, "compress_level": 1}
PACKED: dict[str, dict[str, int]] = {"h5": {}, "ndjson": TEXT, "csv": TEXT}
"""how each kind of file is kept in the zip; HDF5 as it is"""
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
FAILED = "could not be written; the operators know more"
Pieces = Generator[bytes, None, None]


@dataclass(frozen=True)
class WrittenRun:
    """What is remembered of a run when its documents are not needed any more."""

    uid: str | None
    proposal: str | None
    catalog: Catalog
    start: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Archive:
    """The zip of some runs, and what became of each."""

    files: Iterable[str]
    wanted: Callable[[], None]
    """raises if nobody waits for the zip any more"""
    read: list[Run | WrittenRun] = field(default_factory=list)
    """the runs so far; the last one is being written, and is whole"""
    rows: list[list[object]] = field(default_factory=list)
    """of runs.csv"""
    folders: set[str] = field(default_factory=set)

    def pieces(self, runs: Iterable[Run]) -> Pieces:
        made = ZipStream()
        for run in runs:
            if self.read:
                last = self.read[-1]
                self.read[-1] = WrittenRun(last.uid, last.proposal, last.catalog)
            self.read.append(run)
            yield from self._run(made, run)
        made.add(self._table(), "runs.csv")
        yield from made.finalize()

    def _run(self, made: ZipStream, run: Run) -> Iterator[bytes]:
        folder, included, left_out = self._folder(run), list[str](), list[str]()
        for kind in self.files:
            try:
                for name, pieces in _members(run, kind, left_out, self.wanted):
                    whole = _noting(pieces, name, left_out)
                    made.add(whole, f"{folder}/{name}", **PACKED[kind])
                    yield from made.all_files()
                    included.append(name)
            except ClientLeft:
                raise
            except Exception as error:
                left_out.append(f"{kind}: {_reason(error, run)}")
        self.rows.append(_row(run, folder, included, left_out))

    def _folder(self, run: Run) -> str:
        name = safe_name(run.catalog.name, run.start.get("scan_id"), str(run.uid)[:8])
        while name in self.folders:
            name += "_"
        self.folders.add(name)
        return name

    def _table(self) -> bytes:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        return out.getvalue().encode("utf-8", "replace")


def _members(
    run: Run, kind: str, left_out: list[str], wanted: Callable[[], None]
) -> Iterator[tuple[str, Pieces]]:
    """The files of a kind, by name; the first chunk of each is made."""
    if kind == "h5":
        missing = LeftOut()
        yield "run.h5", written_nexus(run, missing, wanted)
        if missing:
            left_out.append(f"run.h5: {missing.warning()}")
    elif kind == "ndjson":
        yield "documents.ndjson", started(iter(Emission(Events(run), WRITERS["ndjson"]())))
    else:
        yield from _tables(run, wanted)


def _tables(run: Run, wanted: Callable[[], None]) -> Iterator[tuple[str, Pieces]]:
    taken: set[str] = set()
    for name in dict.fromkeys(map(stream_name, run.descriptors)):
        stream = Stream.of(run, name)
        columns = read_columns(
            _waited_for(Events(run).stream_batches(stream.uids), wanted),
            stream.fields(None),
            groups=stream.groups,
        )
        file = safe_name(name) or "stream"
        while file in taken:
            file += "_"
        taken.add(file)
        yield f"{file}.csv", started(ENCODERS["csv"].encode(columns))


def _waited_for(batches: Iterable[bytes], wanted: Callable[[], None]) -> Iterator[bytes]:
    for batch in batches:
        wanted()
        yield batch


def _noting(pieces: Pieces, name: str, left_out: list[str]) -> Iterator[bytes]:
    """The same; where it breaks off, the file ends there and is noted as incomplete."""
    try:
        yield from pieces
    except ClientLeft:
        raise
    except Exception as error:
        left_out.append(f"{name}: incomplete; {_reason(error)}")


def _reason(error: Exception, run: Run | None = None) -> str:
    """What a caller is told; what they cannot be told goes to the log."""
    problem = as_problem(views.as_problem(as_file_problem(error)))
    if problem is not None:
        return problem.detail
    log.exception("a file of an archive failed", run=run and run.uid)
    return FAILED


def _row(run: Run, folder: str, included: list[str], left_out: list[str]) -> list[object]:
    summary = summarize(run)
    began: datetime | None = summary.began
    return [
        folder,
        run.uid,
        run.catalog.name,
        run.proposal,
        summary.scan_id,
        summary.plan,
        summary.sample,
        began.isoformat() if began else "",
        summary.seconds,
        summary.status,
        " ".join(included),
        "; ".join(left_out),
    ]


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula has ' put in front."""
    if value is None:
        return ""
    if isinstance(value, str) and value.lstrip().startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value
