"""A message that holds arrays as packed numbers, for the study only: no route serves it.

Needs `protobuf`, a requirement of development.
"""

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from bench.wire_study import Array, Codec, Payload


def _message() -> type:
    """``message Array { string name = 1; repeated int64 shape = 2; … }`` and a list of them."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="array.proto", package="w", syntax="proto3")
    array = file.message_type.add(name="Array")
    for number, (name, kind) in enumerate(
        [
            ("name", kinds.TYPE_STRING),
            ("shape", kinds.TYPE_INT64),
            ("floats", kinds.TYPE_DOUBLE),
            ("integers", kinds.TYPE_UINT64),
        ],
        1,
    ):
        label = kinds.LABEL_OPTIONAL if name == "name" else kinds.LABEL_REPEATED
        array.field.add(name=name, number=number, type=kind, label=label)
    arrays = file.message_type.add(name="Arrays")
    arrays.field.add(
        name="arrays",
        number=1,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_REPEATED,
        type_name=".w.Array",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("w.Arrays"))


Arrays = _message()


def _values(array: Array) -> str:
    return "floats" if array.dtype.kind == "f" else "integers"


def _encode(payload: Payload) -> bytes:
    message = Arrays()
    for name, array in payload.items():
        part = message.arrays.add(name=name, shape=array.shape)
        getattr(part, _values(array)).extend(array.ravel().tolist())
    return bytes(message.SerializeToString())


def _decode(body: bytes) -> Payload:
    message = Arrays.FromString(body)  # type: ignore[attr-defined]
    return {
        part.name: np.array(part.floats or part.integers).reshape(part.shape)
        for part in message.arrays
    }


CODEC = Codec(_encode, _decode)
