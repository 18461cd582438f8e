"""No GPL or AGPL in what is shipped: `python -m tests.licences` reads it off what is installed."""

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNTOLD = {"hdf5plugin": "MIT"}
"""what packages say in their licence files only"""
FORBIDDEN = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
ALLOWED = re.compile(r"\bLGPL|Lesser General Public", re.IGNORECASE)


def licence(package: str) -> str:
    """What a package says of its licence, in any of the places where it may say it."""
    about = metadata(package)
    expressions = about.get_all("License-Expression") or []
    names = [text.partition("\n")[0] for text in about.get_all("License") or []]
    classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License")]
    told = " | ".join(text for text in [*expressions, *names, *classifiers] if text)
    return told or UNTOLD.get(package, "")


def python_licences() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = [re.split(r"[\[=]", line)[0] for line in lines if line and line[0] not in "#-"]
    return {name: licence(name) for name in names}


def script_licences() -> dict[str, str]:
    """Those of the packages that are bundled into the pages' scripts."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    shipped = {name: package for name, package in packages.items() if not package.get("dev")}
    return {name: package.get("license", "") for name, package in shipped.items()}


def forbidden() -> list[str]:
    """Shipped packages whose licence is GPL or AGPL, or not told, as `name: licence`."""
    found = python_licences() | script_licences()
    return [
        f"{name}: {text or 'no licence told'}"
        for name, text in found.items()
        if not text or (FORBIDDEN.search(text) and not ALLOWED.search(text))
    ]


if __name__ == "__main__":
    try:
        sys.exit("\n".join(forbidden()) or 0)
    except PackageNotFoundError as error:
        sys.exit(f"not installed: {error}")
