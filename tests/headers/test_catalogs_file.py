"""catalogs.toml: what it says is what there is, and each mistake is named with its place."""

from pathlib import Path
from typing import Any

import pytest

from headers.catalogs import CatalogsError, load_catalogs

GOOD = """
[catalogs.csx]
title = "CSX 23-ID-1"
beamline = "csx"
metadata = "env:CSX_METADATA_URI"
assets = "mongodb://user:pass@one:27017,two:27017/csx-assets?replicaSet=rs0"
timezone = "America/New_York"
proposal = [
  { path = "data_session", pattern = '^pass-(\\d+)$' },
  { path = "proposal.proposal_id" },
]
root_map = { "/facility/data" = "/mnt/data" }
allowed_roots = ["/mnt/data"]
handlers = ["AD_HDF5", "NPY_SEQ"]
"""
ENVIRONMENT = {"CSX_METADATA_URI": "mongodb://localhost/csx"}


def load(tmp_path: Path, text: str, **environ: str) -> Any:
    path = tmp_path / "catalogs.toml"
    path.write_text(text)
    return load_catalogs(path, ENVIRONMENT | environ)


def test_reads_what_the_contract_describes(tmp_path: Path) -> None:
    (catalog,) = load(tmp_path, GOOD)
    assert (catalog.name, catalog.title, catalog.beamline) == ("csx", "CSX 23-ID-1", "csx")
    assert catalog.metadata == "mongodb://localhost/csx"
    assert catalog.timezone.key == "America/New_York"
    assert catalog.proposal.proposal({"data_session": "pass-310000"}) == "310000"
    assert catalog.proposal.proposal({"proposal": {"proposal_id": 310000}}) == "310000"
    assert catalog.root_map == {"/facility/data": "/mnt/data"}
    assert catalog.allowed_roots == ("/mnt/data",)
    assert catalog.handlers == {"AD_HDF5", "NPY_SEQ"}


def test_catalogs_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    other = GOOD.replace("catalogs.csx", "catalogs.amx").replace("env:CSX_", "env:AMX_")
    environ = {"AMX_METADATA_URI": "mongodb://localhost/amx"}
    assert [catalog.name for catalog in load(tmp_path, GOOD + other, **environ)] == ["amx", "csx"]


@pytest.mark.parametrize(
    "same",
    ["mongodb://localhost/csx", "mongodb://me:secret@LOCALHOST/csx?authSource=admin"],
)
def test_two_catalogs_of_one_database_are_refused(same: str, tmp_path: Path) -> None:
    """Each run would be listed twice, by two rules."""
    other = GOOD.replace("catalogs.csx", "catalogs.hxn").replace("env:CSX_", "env:HXN_")
    message = "catalogs.hxn.metadata: is the database of catalogs.csx, too"
    with pytest.raises(CatalogsError, match=message):
        load(tmp_path, GOOD + other, HXN_METADATA_URI=same)
    assert len(load(tmp_path, GOOD + other, HXN_METADATA_URI="mongodb://localhost/hxn")) == 2


def test_an_address_may_stand_in_a_file_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "uri").write_text("mongodb://secret-host/csx\n")
    text = GOOD.replace("CSX_METADATA_URI", "OTHER")
    (catalog,) = load(tmp_path, text, OTHER_FILE=str(tmp_path / "uri"))
    assert catalog.metadata == "mongodb://secret-host/csx"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[catalogs.csx]", "[catalogs.'c s']", "catalogs.c s: a name has letters"),
        ("[catalogs.csx]", "[csx]", "needs one or more tables [catalogs.NAME]"),
        ('title = "CSX 23-ID-1"', "", "catalogs.csx: lacks title"),
        ('timezone = "America/New_York"', "", "catalogs.csx: lacks timezone"),
        ("title =", "titel = 1\ntitle =", "catalogs.csx: has the unknown key 'titel'"),
        ('"CSX 23-ID-1"', "1", "catalogs.csx.title: must be a text, not a whole number"),
        ('beamline = "csx"', 'beamline = ""', "catalogs.csx.beamline: must be a text"),
        ("America/New_York", "America/Nowhere", "catalogs.csx.timezone: 'America/Nowhere'"),
        ("America/New_York", "../../etc/passwd", "catalogs.csx.timezone: "),
        ("CSX_METADATA_URI", "UNSET", "catalogs.csx.metadata: the environment variable UNSET"),
        (
            "env:CSX_METADATA_URI",
            "mongodb://localhost",
            "catalogs.csx.metadata: needs mongodb://",
        ),
        ("env:CSX_METADATA_URI", "http://localhost/csx", "catalogs.csx.metadata: needs mongodb:"),
        ("one:27017", "one:port", "catalogs.csx.assets: needs mongodb://"),
        ("one:27017", "one:270170", "catalogs.csx.assets: needs mongodb://"),
        ("user:pass@", "user:p@ss@", "catalogs.csx.assets: needs mongodb://"),
        ("user:pass@", "user:p/ss@", "catalogs.csx.assets: needs mongodb://"),
        ("csx-assets?", "?", "catalogs.csx.assets: needs mongodb://"),
        ("csx-assets?", "csx assets?", "catalogs.csx.assets: needs mongodb://"),
        ('{ path = "proposal.proposal_id" }', '"x"', "catalogs.csx.proposal[1]: must be an object"),
        ('"proposal.proposal_id"', "1", "catalogs.csx.proposal[1].path: must be a text"),
        ('"proposal.proposal_id"', '"a..b"', "catalogs.csx.proposal[1].path: proposal path 'a..b'"),
        (
            '"proposal.proposal_id"',
            '"$where"',
            "catalogs.csx.proposal[1].path: proposal path '$where'",
        ),
        ('"proposal.proposal_id"', '"a.0"', "catalogs.csx.proposal[1].path: proposal path 'a.0'"),
        ("'^pass-(\\d+)$'", "'^pass-('", "catalogs.csx.proposal[0].pattern: pattern '^pass-('"),
        ("'^pass-(\\d+)$'", "'^pass-\\d+$'", "needs exactly one group"),
        ("'^pass-(\\d+)$'", "'^.*(\\d+)$'", "outside of the group it may only choose"),
        ("'^pass-(\\d+)$'", "'(?i)pass-(\\d+)'", "outside of the group it may only choose"),
        ('{ "/facility/data" = "/mnt/data" }', '"x"', "catalogs.csx.root_map: must be an object"),
        (
            '"/facility/data" = "/mnt/data"',
            '"/facility/data" = 1',
            "root_map[...]: must be a text, not a wh",
        ),
        ('["/mnt/data"]', '"/mnt/data"', "catalogs.csx.allowed_roots: must be a list, not a"),
        ('["AD_HDF5", "NPY_SEQ"]', "[1]", "catalogs.csx.handlers[0]: must be a text"),
        ("title =", "facets = 'cycle'\ntitle =", "catalogs.csx.facets: must be a list"),
        ("title =", "facets = ['a..b']\ntitle =", "catalogs.csx.facets[0]: 'a..b' is not a dotted"),
        ("title =", "facets = ['$where']\ntitle =", "catalogs.csx.facets[0]: '$where' is not"),
        ("title =", "metadata_write = 'mongodb://a/b'\ntitle =", "csx.assets_write: both"),
        ("title =", "assets_write = 'mongodb://a/b'\ntitle =", "csx.metadata_write: both"),
        ("title =", "assets_write = 'b'\ntitle =", "catalogs.csx.assets_write: needs mongodb://"),
        (
            "title =",
            "layout = 'embedded'\nmetadata_write = 'mongodb://a/b'\n"
            "assets_write = 'mongodb://a/b'\ntitle =",
            "metadata_write: only the normalized layout",
        ),
        ("title =", "title", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_table_and_key(
    old: str, new: str, place: str, tmp_path: Path
) -> None:
    assert old in GOOD
    with pytest.raises(CatalogsError) as refused:
        load(tmp_path, GOOD.replace(old, new))
    assert place in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_password_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(CatalogsError) as refused:
        load(tmp_path, GOOD.replace("user:pass@one", "user:hunter2@one:port"))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "catalogs = 1", "[catalogs]", GOOD + "\n[more]\n"])
def test_a_file_without_catalogs_or_with_more_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogsError, match="needs one or more tables"):
        load(tmp_path, text)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogsError, match="cannot read"):
        load_catalogs(tmp_path / "none.toml", {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogsError, match="not valid TOML"):
        load_catalogs(tmp_path / "binary.toml", {})


def test_a_catalog_is_written_by_an_account_of_its_own(tmp_path: Path) -> None:
    uris = "metadata_write = 'env:WRITE'\nassets_write = 'mongodb://w@two/assets'\ntitle ="
    (csx,) = load(tmp_path, GOOD.replace("title =", uris), WRITE="mongodb://w@one/csx")
    assert csx.metadata_write == "mongodb://w@one/csx"
    assert csx.assets_write == "mongodb://w@two/assets"
    (read_only,) = load(tmp_path, GOOD)
    assert (read_only.metadata_write, read_only.assets_write) == (None, None)
