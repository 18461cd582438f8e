"""Where the recording is kept, and the names of its databases and collections."""

from dataclasses import dataclass
from pathlib import Path

RECORDING = Path(__file__).with_name("recording")
METADATA = ("run_start", "event_descriptor", "event", "run_stop")
ASSETS = ("resource", "datum")


@dataclass(frozen=True)
class CatalogDatabases:
    """Names of a catalog's metadata and assets database; they may be one and the same."""

    metadata: str
    assets: str


DATABASES = {
    "csx": CatalogDatabases("csx-metadata", "csx-assets"),
    "hxn": CatalogDatabases("hxn-bluesky", "hxn-bluesky"),
}
