"""Each of the 25 ABUSE-CASES is named by a test, in its name or in its docstring.

`python -m tests.test_abuse_index` prints which tests those are.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
ALL = range(1, 26)
NUMBERS = re.compile(r"abuse[ _-](?:cases?[ _])?((?:\d+(?:,[ ]|[ _]and[ _])?)+)", re.IGNORECASE)


def numbers_in(text: str) -> set[int]:
    found = NUMBERS.findall(text)
    return {int(number) for numbers in found for number in re.findall(r"\d+", numbers)}


def cases() -> dict[int, set[str]]:
    """The tests that name each case. What a file says of itself, it says of each of its tests."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in sorted(FOLDER.rglob("test_*.py")):
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text())
        for test in _tests_in(tree):
            said = f"{test.name} {ast.get_docstring(test) or ''}"
            for number in numbers_in(said) or numbers_in(ast.get_docstring(tree) or ""):
                found[number].add(f"{path.relative_to(FOLDER)}::{test.name}")
    return found


def _tests_in(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def test_every_abuse_case_is_named_by_a_test() -> None:
    assert sorted(set(ALL) - set(cases())) == []


def test_no_test_names_a_case_that_there_is_not() -> None:
    assert sorted(set(cases()) - set(ALL)) == []


def test_the_ways_of_naming_a_case_are_understood() -> None:
    assert numbers_in("test_abuse_1_and_24_operators") == {1, 24}
    assert numbers_in("test_abuse_case_10_absolute") == {10}
    assert numbers_in("ABUSE-CASES 1, 2, 3 and 4.") == {1, 2, 3, 4}
    assert numbers_in("Abuse cases 6 and 8.") == {6, 8}
    assert numbers_in("ABUSE 22: 3 providers") == {22}
    assert numbers_in("test_10_runs") == set()


if __name__ == "__main__":
    for number, tests in sorted(cases().items()):
        print(number, *sorted(tests), sep="\n   ")
