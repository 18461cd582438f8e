"""What a beamline's profile does with databroker's catalog behind Tiled: each document as it comes.

`python insert.py ADDRESS API_KEY CATALOG`; takes [name, document] lines, and says of each that it
was taken, so that whoever sends them waits as a RunEngine does.
"""

import json
import sys

from bluesky_tiled_plugins import TiledInserter
from tiled.client import from_uri

address, api_key, catalog = sys.argv[1:]
inserter = TiledInserter(from_uri(address, api_key=api_key)[catalog]["raw"], catalog)
for line in sys.stdin:
    inserter(*json.loads(line))
    print("taken", flush=True)
