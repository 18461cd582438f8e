"""The query grammar: what it accepts means what it says, and nothing else gets through."""

import json
import re
import string
from collections.abc import Iterator
from operator import ge, gt, le, lt
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headers.mongo import database
from headers.queries import (
    MAX_CLAUSES,
    MAX_ITEMS,
    MAX_LEVELS,
    OPERATORS,
    QueryError,
    compile_query,
    parse_query,
)
from tests.documents import Recorder

SENT = set(OPERATORS) | {"$and", "$or", "$nor"}
FORBIDDEN = ("$where", "$expr", "$function", "$accumulator", "$out", "$merge", "$jsonSchema")
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# -- generated queries ------------------

FIELDS = ("a", "b", "sample.name")
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, -1.5, "", "x"])
comparisons = st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
conditions = (
    scalars
    | st.dictionaries(comparisons, scalars, min_size=1, max_size=2)
    | st.fixed_dictionaries({"$in": st.lists(scalars, max_size=3)})
    | st.fixed_dictionaries({"$nin": st.lists(scalars, max_size=3)})
    | st.fixed_dictionaries({"$exists": st.booleans()})
    | st.fixed_dictionaries({"$regex": st.sampled_from(["x", "^$", "^[a-x]"])})
)
clauses = st.dictionaries(st.sampled_from(FIELDS), conditions, max_size=3)


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {}, optional={"$and": some, "$or": some, "$not": inner, "a": conditions}
    )


queries = st.recursive(clauses, combined, max_leaves=6)
names = st.sampled_from(
    ["a", "a.b", "$where", "$expr", "$and", "$or", "$not", "$in", "_id", "a__b", "\0", "", ".", "$"]
) | st.text(max_size=5)
hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


def keys_of(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from keys_of(value)
    if isinstance(tree, list):
        for item in tree:
            yield from keys_of(item)


@settings(max_examples=50, deadline=None)
@given(tree=queries | hostile)
def test_only_allowed_operators_reach_mongodb_and_nothing_but_a_query_error_comes_out(
    tree: Any,
) -> None:
    """ABUSE-CASES 3."""
    try:
        query = compile_query(tree)
    except QueryError:
        return
    for key in keys_of([query.start, query.joined]):
        assert not key.startswith("$") or key in SENT
        assert not key.startswith("_") or key.startswith(("_broker_stop.", "_broker_descriptors."))


@given(text=st.text(max_size=40) | hostile.map(lambda tree: json.dumps(tree)))
@example('{"a": "\\ud800"}')
@example('{"\\ud800": 1}')
@example('{"a": {"$regex": "\\udfff"}}')
@example('{"a": ' + "1" * 5000 + "}")
@example('{"a":' * 5000)
@example('{"a": NaN}')
@example('{"a": 1, "a": 2}')
def test_any_text_is_a_query_that_mongodb_can_be_sent_or_a_query_error(text: str) -> None:
    try:
        query = parse_query(text)
    except QueryError:
        return
    bson.encode(query.start)
    bson.encode(query.joined)


# -- the same meaning as a plain reading of it ------------------


class Missing:
    """Stands for a field that is not there."""


MISSING = Missing()
DOCUMENTS: list[dict[str, Any]] = [
    {"a": a, "b": b} | ({} if name is MISSING else {"sample": {"name": name}})
    for a, b, name in zip(
        [None, True, False, 0, 1, -2, 0.5, "", "x", "xyz", 3, 2.0],
        ["x", "", 0, None, True, 1, 1.0, -1.5, False, 3, "a", "y"],
        [MISSING, "x", None, 1, MISSING, "", True, 0.5, "zx", MISSING, -3, False],
        strict=True,
    )
] + [{}, {"a": "x"}, {"b": 1}, {"sample": "x"}]


def value_at(document: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return MISSING
        document = document[name]
    return document


def kind(value: Any) -> str:
    if value is None or value is MISSING:
        return "null"
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else "text"


def same(value: Any, other: Any) -> bool:
    return kind(value) == kind(other) and (kind(value) == "null" or bool(value == other))


def ordered(operator: str, value: Any, other: Any) -> bool:
    if kind(value) != kind(other):
        return False
    if kind(value) == "null":
        return operator in ("$gte", "$lte")
    compared = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}[operator]
    return bool(compared(value, other))


def satisfies(value: Any, operator: str, operand: Any) -> bool:
    match operator:
        case "$eq" | "$ne":
            return same(value, operand) == (operator == "$eq")
        case "$in" | "$nin":
            return any(same(value, item) for item in operand) == (operator == "$in")
        case "$exists":
            return (value is not MISSING) == bool(operand)
        case "$regex":
            return isinstance(value, str) and re.search(operand, value) is not None
    return ordered(operator, value, operand)


def selected(document: dict[str, Any], tree: dict[str, Any]) -> bool:
    """A plain reading of the grammar for documents of scalars."""
    for key, value in tree.items():
        if key == "$not":
            holds = not selected(document, value)
        elif key == "$and":
            holds = all(selected(document, item) for item in value)
        elif key == "$or":
            holds = any(selected(document, item) for item in value)
        else:
            condition = value if isinstance(value, dict) else {"$eq": value}
            found = value_at(document, key)
            holds = all(satisfies(found, name, operand) for name, operand in condition.items())
        if not holds:
            return False
    return True


@pytest.fixture
def documents(recorder: Recorder) -> Recorder:
    for number, document in enumerate(DOCUMENTS):
        recorder.insert("csx", "run_start", document | {"uid": str(number)})
    return recorder


@quick
@given(tree=queries)
def test_a_query_selects_what_a_plain_reading_of_it_selects(
    tree: dict[str, Any], documents: Recorder
) -> None:
    runs = database(documents.catalogs["csx"].metadata).run_start
    found = {int(run["uid"]) for run in runs.find(compile_query(tree).start)}
    assert found == {n for n, document in enumerate(DOCUMENTS) if selected(document, tree)}


# -- what is refused ------------------


def nested(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        tree = {"$not": tree}
    return tree


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"$where": "sleep(1000)"}, "$where"),
        ({"$expr": {"$eq": ["$a", "$b"]}}, "$expr"),
        ({"$or": [{"a": 1}, {"$nor": []}]}, "$or[1].$nor"),
        ({"a": {"$function": {}}}, "a.$function"),
        ({"a": {"$eq": {"$gt": ""}}}, "a.$eq"),
        ({"a": {"$in": [{"$gt": ""}]}}, "a.$in[0]"),
        ({"a": {"b": 1}}, "a.b"),
        ({"a": {"$not": {"$regex": "x"}}}, "a.$not"),
        ({"a": {"$elemMatch": {}}}, "a.$elemMatch"),
        ({"a": {"$options": "i", "$regex": "x"}}, "a.$options"),
        ({"a": [1]}, "a"),
        ({"a": {}}, "a"),
        ({"a": {"$in": "x"}}, "a.$in"),
        ({"a": {"$exists": 1}}, "a.$exists"),
        ({"a": {"$regex": 1}}, "a.$regex"),
        ({"a": 2**64}, "a"),
        ({"__proto__": 1}, "__proto__"),
        ({"_id": 1}, "_id"),
        ({"_broker_stop": 1}, "_broker_stop"),
        ({"sample._id": 1}, "sample._id"),
        ({"a__b": 1}, "a__b"),
        ({"a\0": 1}, "a\0"),
        ({"a.$b": 1}, "a.$b"),
        ({"a..b": 1}, "a..b"),
        ({"stop.": 1}, "stop."),
        ({"a" * 100_000: 1}, "a" * 256),
        ({".".join("a" * 17): 1}, ".".join("a" * 17)),
        ({"$and": []}, "$and"),
        ({"$or": {}}, "$or"),
        ({"$not": []}, "$not"),
        ([], ""),
        (nested(MAX_LEVELS + 1), ".".join(["$not"] * MAX_LEVELS)),
        ({"a": {"$in": [1] * (MAX_ITEMS + 1)}}, "a.$in"),
        ({"a": {"$regex": "(a+)+$"}}, "a.$regex"),
        ({"a": {"$regex": "x" * 257}}, "a.$regex"),
    ],
)
def test_refuses_and_names_the_place(tree: Any, place: str) -> None:
    """ABUSE-CASES 1 and 2."""
    with pytest.raises(QueryError) as refused:
        compile_query(tree)
    assert refused.value.path == place


def test_accepts_exactly_as_much_as_the_contract_says() -> None:
    compile_query(nested(MAX_LEVELS))
    compile_query({"a": {"$in": list(range(MAX_ITEMS))}})
    compile_query({"a": {"$regex": "x" * 256}})
    many = {a + b: 1 for a in string.ascii_lowercase for b in string.ascii_lowercase}
    compile_query(dict(list(many.items())[:MAX_CLAUSES]))
    with pytest.raises(QueryError, match="more than 64 clauses"):
        compile_query(dict(list(many.items())[: MAX_CLAUSES + 1]))
    with pytest.raises(QueryError, match="more than 64 clauses"):
        compile_query({"$or": [{"a": {"$gt": 1, "$lt": 2}}] * 32})


@pytest.mark.parametrize(
    "text", ["{", "{'a': 1}", '{"a": NaN}', '{"a": -Infinity}', "", "[" * 5000]
)
def test_refuses_what_is_not_json(text: str) -> None:
    with pytest.raises(QueryError):
        parse_query(text)


def test_a_key_that_stands_twice_is_refused_instead_of_half_ignored() -> None:
    with pytest.raises(QueryError) as refused:
        parse_query('{"$or": [{"a": 1, "b": 2, "a": 3}]}')
    assert refused.value.path == "a"


def test_conditions_on_stop_and_descriptors_are_kept_apart_from_those_on_the_start() -> None:
    query = compile_query({"a": 1, "stop.exit_status": "fail", "descriptor.name": "baseline"})
    assert query.start == {"a": {"$eq": 1}}
    assert query.joined == {
        "_broker_stop.exit_status": {"$eq": "fail"},
        "_broker_descriptors.name": {"$eq": "baseline"},
    }


def test_fields_that_only_look_like_joined_documents_are_fields_of_the_start() -> None:
    assert compile_query({"stop": 1, "stopwatch.x": 2, "a.stop.b": 3}).joined == {}
