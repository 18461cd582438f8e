"""The rule as SQL says what its filter and its judgement say."""

from typing import Any

from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from headers.catalogs import Catalog
from headers.index.listing import Listing, Wanted
from headers.index.models import IndexedRun, Source
from headers.index.rows import Ending, row_of
from headers.index.rule import proposals_of
from headers.index.store import add_rows
from headers.mongo import database
from policies.models import Proposal, RunOverride
from policies.rule.access import Access
from tests.policies.test_access_rule import (
    IDS,
    UIDS,
    AnyCatalog,
    accesses,
    catalogs_of_any_kind,
    documents,
    quick,
    rolled_back,
)

plain_uids = documents.filter(lambda document: not isinstance(document.get("uid"), list))


def filled(catalog: Any, stored: list[dict[str, Any]]) -> Source:
    source = Source.objects.create(catalog=catalog.name, fingerprint="any")
    rows = [row_of(catalog, document) for document in stored]
    add_rows(source, [(row, Ending()) for row in rows if row is not None])
    return source


@quick
@given(
    catalog=catalogs_of_any_kind.map(
        lambda made: type("Any", (AnyCatalog,), {"facets": ()})(
            made.name, made.beamline, made.proposal
        )
    ),
    some=st.lists(accesses, min_size=3, max_size=6),
    stored=st.lists(plain_uids, min_size=5, max_size=20),
    overrides=st.dictionaries(st.sampled_from(UIDS), st.sampled_from(IDS)),
)
def test_sql_selects_exactly_the_documents_that_the_filter_selects_and_the_judgement_allows(
    catalog: Any,
    some: list[Access],
    stored: list[dict[str, Any]],
    overrides: dict[str, str],
    catalogs: dict[str, Catalog],
    db: None,
) -> None:
    stored = [
        document | {"_id": ObjectId(n.to_bytes(12, "big")), "time": float(n)}
        for n, document in enumerate(stored)
    ]
    starts = database(catalogs["csx"].metadata).any_start
    starts.delete_many({})
    starts.insert_many(stored)
    with rolled_back():
        proposals = {name: Proposal.objects.create(proposal_id=name) for name in IDS}
        source = filled(catalog, stored)
        for uid, name in overrides.items():
            RunOverride.objects.create(catalog="csx", run_uid=uid, proposal=proposals[name])
        for one in some:
            access = Access(
                one.data_admin,
                one.beamlines,
                one.proposals,
                one.locked,
                {"csx": overrides},
                one.only_proposals,
                one.only_catalogs,
            )
            allowed = {start["time"] for start in stored if access.allows(catalog, start)}
            assert {found["time"] for found in starts.find(access.filter(catalog))} == allowed
            listing = Listing(access, {source.pk: catalog})
            assert {entry.time for entry in listing.page(Wanted(), 100)} == allowed
            assert listing.count(Wanted()) == len(allowed)


@given(catalog=catalogs_of_any_kind, access=accesses)
def test_every_rule_has_an_answer_in_sql(catalog: AnyCatalog, access: Access) -> None:
    proposals = proposals_of(access.rule(catalog))
    for name in IDS:
        assert (name in proposals) == access.allows_proposal(catalog, name)


def test_an_override_moves_a_row_and_its_removal_moves_it_back(
    catalogs: dict[str, Catalog], db: None
) -> None:
    start = {"_id": ObjectId(), "uid": "u1", "time": 1.0, "data_session": "pass-7"}
    filled(catalogs["csx"], [start])
    for name in ("7", "8", "9"):
        Proposal.objects.create(proposal_id=name)
    eight, nine = (Proposal.objects.get(proposal_id=name) for name in "89")
    override = RunOverride.objects.create(catalog="csx", run_uid="u1", proposal=eight)
    assert IndexedRun.objects.get().proposal == "8"
    override.proposal = nine
    override.save()
    assert IndexedRun.objects.get().proposal == "9"
    nine.proposal_id = "10"
    nine.save()
    assert IndexedRun.objects.get().proposal == "10"
    RunOverride.objects.update(run_uid="other")
    assert IndexedRun.objects.get().proposal == "7"
    RunOverride.objects.update(run_uid="u1")
    RunOverride.objects.all().delete()
    assert IndexedRun.objects.get().proposal == "7"


def test_a_row_that_comes_after_its_override_has_its_proposal(
    catalogs: dict[str, Catalog], db: None
) -> None:
    proposal = Proposal.objects.create(proposal_id="8")
    RunOverride.objects.create(catalog="csx", run_uid="u1", proposal=proposal)
    filled(catalogs["csx"], [{"_id": ObjectId(), "uid": "u1", "data_session": "pass-7"}])
    assert IndexedRun.objects.get().proposal == "8"
