"""The command `dbservice`: sign in, list runs, show one, get its data, follow it."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from dbservice import __version__, notebook
from dbservice.errors import BrokerError
from dbservice.runs import Database, Run, Runs, connect

COLUMNS = ("scan_id", "time", "plan_name", "sample", "stop.exit_status", "uid")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""what a spreadsheet would take for the beginning of a formula"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit status: 0, or 1 with a line about what went wrong."""
    given = _parser().parse_args(arguments)
    try:
        with connect(
            given.url, catalog=given.catalog, user=given.user, anonymous=given.anonymous
        ) as db:
            run: Callable[[Database, argparse.Namespace], None] = given.run
            run(db, given)
    except BrokenPipeError:  # such as | head
        sys.stderr.close()
    except KeyboardInterrupt:
        return 130
    except (BrokerError, ValueError, OSError, ImportError) as error:
        print(f"dbservice: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dbservice", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--url", help="of the service; default: $DBSERVICE_URL or the last one")
    parser.add_argument("--catalog", help="only runs of this one")
    parser.add_argument("--user", help="whose kept session to use")
    parser.add_argument("--anonymous", action="store_true", help="public runs only")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_login(commands)
    commands.add_parser("logout", help="end the session").set_defaults(run=_logout)
    commands.add_parser("whoami", help="who is signed in").set_defaults(run=_whoami)
    _add_list(commands)
    _add_show(commands)
    _add_get(commands)
    _add_follow(commands)
    _add_spool(commands)
    return parser


def _add_login(commands: Any) -> None:
    login = commands.add_parser("login", help="sign in and stay so")
    login.add_argument("username", nargs="?")
    login.add_argument("--device", action="store_true", help="by a code, in the browser")
    login.set_defaults(run=_login)


def _add_list(commands: Any) -> None:
    about = "conditions as in Python: plan_name=scan since=2026-01 num_points__gte=50"
    found = commands.add_parser("list", help="runs, newest first", epilog=about)
    found.add_argument("conditions", nargs="*", metavar="NAME=VALUE", help="or words to be found")
    found.add_argument("-n", "--limit", type=int, default=25, help="how many (default: 25)")
    found.add_argument("--columns", help=f"comma-separated (default: {','.join(COLUMNS)})")
    found.add_argument("--csv", action="store_true", help="as CSV, uids and texts in full")
    found.set_defaults(run=_list)


def _add_show(commands: Any) -> None:
    show = commands.add_parser("show", help="what is known of a run")
    show.add_argument("key", metavar="RUN", help="scan number, beginning of the uid, or -1, -2, …")
    show.add_argument("--json", action="store_true", help="its documents")
    show.set_defaults(run=_show)


def _add_get(commands: Any) -> None:
    get = commands.add_parser("get", help="a run, or the table of a stream, as a file")
    get.add_argument("key", metavar="RUN", help="scan number, beginning of the uid, or -1, -2, …")
    get.add_argument("-o", "--output", help=".h5, .ndjson; of a stream .csv, .parquet, .arrow, …")
    get.add_argument("--stream", help="only the table of this one")
    get.set_defaults(run=_get)


def _add_follow(commands: Any) -> None:
    follow = commands.add_parser("follow", help="a run's documents as they come, one a line")
    follow.add_argument("key", metavar="RUN", nargs="?", help="default: the next one that begins")
    follow.set_defaults(run=_follow)


def _add_spool(commands: Any) -> None:
    about = "the catalog is that of --catalog; the token that of $DBSERVICE_TOKEN"
    spool = commands.add_parser("spool", help="runs that are not sent yet", epilog=about)
    actions = spool.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="what is there").set_defaults(run=_spool_list)
    send = actions.add_parser("send", help="send what nobody else is sending")
    send.add_argument("uid", nargs="*", help="also these, which were refused or sent before")
    send.set_defaults(run=_spool_send)
    close = actions.add_parser("close", help="end a run whose RunEngine is gone")
    close.add_argument("uid")
    close.set_defaults(run=_spool_close)


def _login(db: Database, given: argparse.Namespace) -> None:
    db.login(given.username or given.user, device=given.device)
    _whoami(db, given)


def _logout(db: Database, given: argparse.Namespace) -> None:
    db.logout()


def _whoami(db: Database, given: argparse.Namespace) -> None:
    who = db.whoami()
    print((who["user"] or {}).get("username", "nobody"))
    for proposal in who["proposals"]:
        print(f"  {proposal['proposal_id']}  {proposal['title'] or ''}")


def _list(db: Database, given: argparse.Namespace) -> None:
    runs = _chosen(db, given.conditions)
    columns = given.columns.split(",") if given.columns else list(COLUMNS)
    lines = [
        [_cell(name, value, short=not given.csv) for name, value in record.items()]
        for record in runs.records(*columns, limit=given.limit)
    ]
    if given.csv:
        _write_csv([columns, *lines], sys.stdout)
    else:
        _write_lines([columns, *lines], sys.stdout)


def _chosen(db: Database, conditions: Sequence[str]) -> Runs:
    runs: Runs = db
    for text in conditions:
        name, equals, value = text.partition("=")
        runs = runs.search(**{name: _value(name, value)}) if equals else runs.search(text)
    return runs


def _value(name: str, text: str) -> Any:
    """A number, true, false or null where the text is one; a list for __in and __nin."""
    if name.endswith(("__in", "__nin")):
        return [_value("", item) for item in text.split(",")]
    if name in ("since", "until", "uid", "proposal", "sample", "search", "catalog", "plan_name"):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (dict, list)) else value


def _cell(name: str, value: Any, *, short: bool) -> str:
    if name in ("time", "start.time", "stop.time") and isinstance(value, (int, float)):
        moment = datetime.fromtimestamp(value, timezone.utc).astimezone()
        return f"{moment:%Y-%m-%d %H:%M}" if short else moment.isoformat()
    if name == "uid" and short:
        return str(value)[:8]
    if short:
        return notebook.text_of(value)
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value or "")


def _write_csv(lines: Sequence[Sequence[str]], file: TextIO) -> None:
    csv.writer(file, lineterminator="\n").writerows([map(_harmless, line) for line in lines])


def _harmless(cell: str) -> str:
    try:
        float(cell)
    except ValueError:
        return f"'{cell}" if cell.startswith(FORMULA) else cell
    return cell


def _write_lines(lines: Sequence[Sequence[str]], file: TextIO) -> None:
    plain = [["".join(c if c.isprintable() else "?" for c in cell) for cell in x] for x in lines]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for line in plain:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip(), file=file)


def _show(db: Database, given: argparse.Namespace) -> None:
    run = _run(db, given.key)
    if given.json:
        print(json.dumps({**run.metadata, "descriptors": run.descriptors}, indent=2))
        return
    print(repr(run)[1:-1])
    print(f"  {run.url}")
    print(f"  catalog {run.catalog}, proposal {run.proposal or 'none'}")
    for stream in run.streams.values():
        print(f"  {stream.name}: {stream.event_count} events of {', '.join(stream.fields())}")


def _get(db: Database, given: argparse.Namespace) -> None:
    run = _run(db, given.key)
    name = f"{run.catalog}_{run.scan_id or 'run'}_{run.uid[:8]}"
    if given.stream:
        path = run[given.stream].export(given.output or f"{name}_{Path(given.stream).name}.csv")
    else:
        path = run.export(given.output or f"{name}.h5")
    print(path)


def _follow(db: Database, given: argparse.Namespace) -> None:
    run = _run(db, given.key) if given.key else db.next()
    for item in run.follow():
        print(json.dumps(item), flush=True)


def _spool(db: Database, given: argparse.Namespace) -> Path:
    from dbservice.spool import spool_folder

    if not given.catalog:
        raise ValueError("Which catalog? dbservice --catalog NAME spool …")
    return spool_folder(db.server, given.catalog)


def _spool_list(db: Database, given: argparse.Namespace) -> None:
    from dbservice.writing import spooled

    lines = [["run", "state", "documents", "bytes", "ended"]]
    for found in spooled(_spool(db, given)):
        ended = "yes" if found.ended else "no"
        lines.append([found.run, found.state, str(found.items), str(found.size), ended])
    _write_lines(lines, sys.stdout)


def _spool_send(db: Database, given: argparse.Namespace) -> None:
    from dbservice.writing import restored

    folder = _spool(db, given)
    for uid in given.uid:
        restored(folder, uid).release()
    _send_spooled(db, given)


def _spool_close(db: Database, given: argparse.Namespace) -> None:
    from dbservice.writing import close_run

    close_run(_spool(db, given), given.uid)
    _send_spooled(db, given)


def _send_spooled(db: Database, given: argparse.Namespace) -> None:
    with db.writer(given.catalog) as writer:
        writer.flush()
        if writer.health.last_error:
            raise BrokerError(writer.health.last_error)


def _run(db: Database, key: str) -> Run:
    is_number = key.lstrip("-").isdecimal() and (key.startswith("-") or len(key) < 8)
    return db[int(key)] if is_number else db[key]


if __name__ == "__main__":
    sys.exit(main())
