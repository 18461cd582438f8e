"""The filters of the list's page as scripts that find the same runs."""

import shlex
from typing import Any

from django.http import QueryDict
from django.utils.http import urlencode

LEFT_OUT = ("cursor", "page_size", "include", "fields", "format")


def scripts_for(filters: QueryDict, site: str, address: str) -> dict[str, str]:
    """Python with the client `dbservice`, and curl, for the API at an address of a site."""
    pairs = [(name, value) for name, values in filters.lists() for value in values]
    kept = [(name, str(value)) for name, value in pairs if name not in LEFT_OUT]
    query = f"?{urlencode(kept)}" if kept else ""
    return {
        "python": _python([pair for pair in kept if pair[0] != "ordering"], site),
        "curl": (
            f'curl --fail-with-body --header "Authorization: Bearer $DBSERVICE_TOKEN" \\\n'
            f"  {shlex.quote(site + address + query)}"
        ),
    }


def _python(filters: list[tuple[str, str]], site: str) -> str:
    named: dict[str, Any] = {}
    for name, value in filters:
        # What was typed is one text; blanks divide its terms.
        named[name] = f"{named[name]} {value}" if name in named else value
    if "scan_id" in named and named["scan_id"].isdecimal():
        named["scan_id"] = int(named["scan_id"])
    query = named.pop("query", None)
    given = [f"json.loads({query!r})"] if query is not None else []
    given += [f"{name}={value!r}" for name, value in named.items()]
    imports = "import json\n\n" if query is not None else ""
    return (
        f"{imports}from dbservice import connect  # pip install databroker-service\n\n"
        f"db = connect({site!r})\n"
        f"for run in db.search({', '.join(given)}):\n"
        '    print(run.start.get("scan_id"), run.uid)'
    )
