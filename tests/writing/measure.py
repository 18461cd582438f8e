"""How many events a second are taken, and what the writer costs a RunEngine.

    python -m tests.writing.measure [events]

Over the tests' MongoDB, or the one of BROKER_TEST_MONGO_URI.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from contextlib import ExitStack

from django.conf import settings

from demo.embedded_mongo import embedded_mongo
from headers.mongo import database
from tests import settings as test_settings
from tests.writing.runs import a_run
from tests.writing.service import CLIENT, serving

sys.path.insert(0, str(CLIENT))

from dbservice import connect

UNIQUE = {"run_start": "uid", "run_stop": "run_start", "event_descriptor": "uid", "event": "uid"}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with ExitStack() as stack:
        if hasattr(test_settings, "MONGO_PORT"):
            stack.enter_context(embedded_mongo(None, test_settings.MONGO_PORT))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["XDG_STATE_HOME"] = str(folder)
        catalog = next(known for known in settings.CATALOGS if known.name == "csx")
        for collection, key in UNIQUE.items():
            database(catalog.metadata)[collection].create_index(key, unique=True)
        database(catalog.assets).datum.create_index("datum_id", unique=True)
        service = stack.enter_context(serving(folder))
        run: list[tuple[str, dict[str, Any]]] = a_run(events=count)
        writer = connect(service.instance.address, token=service.token).writer("csx")
        begin = time.perf_counter()
        spent = []
        for name, document in run:
            before = time.perf_counter()
            writer(name, document)
            spent.append(time.perf_counter() - before)
        writer.flush(600)
        seconds = time.perf_counter() - begin
        spent.sort()
        print(f"{count / seconds:.0f} events/s stored; the RunEngine waited", end=" ")
        print(f"{1000 * spent[len(spent) // 2]:.3f} ms (median),", end=" ")
        print(f"{1000 * spent[int(len(spent) * 0.99)]:.3f} ms (99 %) a document")
        assert database(catalog.metadata).event.count_documents({}) == count
        writer.close()


if __name__ == "__main__":
    main()
