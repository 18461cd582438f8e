"""Nodes as the resources of Tiled's protocol, with absolute links."""

import base64
from typing import Any
from urllib.parse import quote

import numpy as np

from broker_site import media_types
from tiled.layout3 import InternalNode
from tiled.nodes import ArrayNode, CatalogNode, Node, RunNode, StreamNode


def resource(node: Node, api: str, count: int | None = None) -> dict[str, Any]:
    """api: the address of the API with a slash at its end. count: of children, where known."""
    return {
        "id": node.path[-1] if node.path else "",
        "attributes": {
            "ancestors": list(node.path[:-1]),
            "structure_family": node.family,
            "specs": [{"name": name, "version": version} for name, version in node.specs],
            "metadata": node.metadata,
            "structure": structure(node, api, count),
            "access_tags": [],
            "access_blob": None,
            "sorting": [{"key": node.sorting, "direction": 1}],
            "data_sources": None,
        },
        "links": links(node, api),
        "meta": None,
    }


def only_key(node_path: tuple[str, ...], api: str) -> dict[str, Any]:
    """The same for who asks for no fields."""
    names = [
        "ancestors",
        "structure_family",
        "specs",
        "metadata",
        "structure",
        "sorting",
        "data_sources",
    ]
    link = f"{api}metadata/{quoted(node_path)}"
    attributes: dict[str, Any] = dict.fromkeys(names) | {"ancestors": list(node_path[:-1])}
    return {"id": node_path[-1], "attributes": attributes, "links": {"self": link}, "meta": None}


def quoted(path: tuple[str, ...]) -> str:
    return "/".join(quote(part, safe="") for part in path)


def links(node: Node, api: str) -> dict[str, str]:
    path = quoted(node.linked)
    itself = path if isinstance(node, StreamNode) else quoted(node.path)
    found = {"self": f"{api}metadata/{itself}"}
    if isinstance(node, ArrayNode):
        places = ",".join(f"{{{axis}}}" for axis in range(len(node.shape)))
        block = f"{api}array/block/{path}?block={places}"
        return found | {"full": f"{api}array/full/{path}", "block": block}
    if isinstance(node, InternalNode):
        partition = f"{api}table/partition/{path}?partition={{index}}"
        return found | {"full": f"{api}table/full/{path}", "partition": partition}
    return found | {"search": f"{api}search/{path}", "full": f"{api}container/full/{path}"}


def structure(node: Node, api: str, count: int | None) -> dict[str, Any]:
    if isinstance(node, ArrayNode):
        return {
            "data_type": data_type(node.dtype),
            "chunks": node.chunks,
            "shape": list(node.shape),
            "dims": list(node.dims),
            "resizable": False,
        }
    if isinstance(node, InternalNode):
        return table_structure(node)
    number = len(node.names) if count is None else count
    return {"contents": contents(node, api), "count": number}


def table_structure(node: InternalNode) -> dict[str, Any]:
    with node.table() as table:
        schema = table.schema
    written = base64.b64encode(schema.serialize().to_pybytes()).decode()
    return {
        "arrow_schema": f"data:{media_types.ARROW_FILE};base64,{written}",
        "npartitions": 1,
        "columns": schema.names,
        "resizable": False,
    }


def data_type(dtype: np.dtype[Any]) -> dict[str, Any]:
    endianness = "not_applicable" if dtype.kind == "b" or dtype.itemsize == 1 else "little"
    kind, size = dtype.kind, dtype.itemsize
    return {"endianness": endianness, "kind": kind, "itemsize": size, "dt_units": None}


def contents(node: Node, api: str) -> dict[str, Any] | None:
    """The children of complete runs at once, which saves requests; open ones get new streams."""
    if isinstance(node, CatalogNode):
        return None
    if isinstance(node, RunNode):
        complete = node.run.stop is not None or not node.specs
    else:
        complete = isinstance(node, StreamNode) and node.stream.run.stop is not None
    if not complete or not node.listed:
        return None
    return {child.path[-1]: resource(child, api) for child in node.children()}
