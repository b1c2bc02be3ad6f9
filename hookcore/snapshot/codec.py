"""The closed encoder: values to JSON and blobs, and back with exact types, identity and order.

A document is JSON. ``null``, booleans, numbers, text and arrays stand for themselves (an array is a
list); everything else is an object whose first key is its tag: ``{"tuple": [1, 2]}``. Values with
identity are numbered in the order in which they begin; ``{"ref": 3}`` is the fourth of them again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import attrs
import torch

from hookcore.errors import SnapshotError

from . import tensors
from .blobs import BlobReader, BlobWriter, Memory
from .classes import NotFoundYet, Unresolved, family
from .containers import BRANCHES, FAMILIES, Branch
from .leaves import LEAVES, Json, is_bare

_DEEPEST = 150  # parts within parts; JSON readers and Python's own stack end somewhere above

Step = str | int | tuple[Any]


@attrs.frozen
class Encoded:
    """A value taken apart.

    Args:
        document: JSON.
        blobs: The bytes of its tensors and arrays, by name.
    """

    document: Json
    blobs: dict[str, torch.Tensor]


class NotEncodable(SnapshotError):
    """A value that no checkpoint can hold.

    Args:
        path: Where it stands, as ``variables.history[3].model``.
        reason: What it is.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be put in a checkpoint",
            reason,
            "keep a plain value, a container of them, a tensor or an array there",
        )
        self.path, self.reason = path, reason


def encode(value: object, name: str = "value", *, into: Memory | None = None) -> Encoded:
    """Takes a value apart.

    Args:
        value: Any value of the closed set of types.
        name: What errors call it.
        into: Copy the tensors' bytes there, so that later changes do not reach the result.

    Raises:
        NotEncodable: Something in it is outside the set; says where.
    """
    encoder = Encoder(name, into)
    document = encoder.child(value, "")
    return Encoded(document, encoder.blobs.finish())


def encodable(value: object, name: str = "value") -> str | None:
    """Why a value cannot be put in a checkpoint (``"history[3]: <class 'X'>"``), or ``None``."""
    try:
        Encoder(name).child(value, "")
    except NotEncodable as error:
        return f"{error.path}: {error.reason}"
    return None


def decode(encoded: Encoded, *, strict: bool = True) -> Any:
    """Puts a value together again; runs nothing that the document names.

    Args:
        encoded: What ``encode`` gave.
        strict: Refuse classes that are not imported; else ``Unresolved`` stands for their values.

    Raises:
        SnapshotError: The document is not of this format, or names a class that is not there.
    """
    decoder = Decoder(encoded.blobs)
    try:
        value = decoder.value(encoded.document)
    except (ArithmeticError, AttributeError, ImportError, LookupError, RecursionError) as error:
        raise _undecodable(error) from error
    except (RuntimeError, TypeError, ValueError) as error:
        raise _undecodable(error) from error
    if strict and decoder.missing:
        raise SnapshotError(
            "the checkpoint holds values of classes that are not there",
            "\n".join(f"{each.class_name}: {each.why}" for each in decoder.missing),
            "import the modules that define them before the loop starts",
        )
    return value


def _undecodable(error: Exception) -> SnapshotError:
    return SnapshotError(
        "the checkpoint cannot be put together again",
        f"{type(error).__name__}: {error}",
        "take an earlier checkpoint",
    )


_TENSOR = Branch(
    "tensor",
    torch.Tensor,
    lambda encoder, value: {"tensor": tensors.pack_tensor(encoder, value)},
    lambda decoder, body, _keep: tensors.unpack_tensor(decoder, body["tensor"]),
    fixed=True,
)
_ARRAY = Branch(
    "ndarray",
    object,
    lambda encoder, value: {"ndarray": tensors.pack_array(encoder, value)},
    lambda decoder, body, _keep: tensors.unpack_array(decoder, body["ndarray"]),
    fixed=True,
)
_SCALAR = Branch(
    "scalar",
    object,
    lambda encoder, value: {"scalar": tensors.pack_scalar(encoder, value)},
    lambda decoder, body, _keep: tensors.unpack_scalar(decoder, body["scalar"]),
    fixed=True,
)
_LEAF_TYPES = {leaf.type: leaf for leaf in LEAVES}
_PLAIN_TYPES = frozenset({type(None), bool, int, float, str, list, *_LEAF_TYPES})
_LEAF_TAGS = {leaf.tag: leaf for leaf in LEAVES}
_BRANCH_TYPES = {branch.type: branch for branch in BRANCHES}
_BRANCH_TAGS = {
    branch.tag: branch for branch in (*BRANCHES, *FAMILIES.values(), _TENSOR, _ARRAY, _SCALAR)
}
TAGS = frozenset(_LEAF_TAGS) | frozenset(_BRANCH_TAGS)


def has_form(cls: type) -> bool:
    """Whether a value of this type can be put in a checkpoint, if all that is in it can be."""
    return cls in _PLAIN_TYPES or _branch_of(cls) is not None


def _branch_of(cls: type) -> Branch | None:
    if found := _BRANCH_TYPES.get(cls):
        return found
    if issubclass(cls, torch.Tensor):
        return _TENSOR
    if kind := tensors.numpy_kind(cls):
        return _ARRAY if kind == "ndarray" else _SCALAR
    kind = family(cls)
    return FAMILIES[kind] if kind else None


class Encoder:
    """One walk over a value.

    Args:
        name: What errors call the value.
        into: Copy the tensors' bytes there.
    """

    def __init__(self, name: str, into: Memory | None = None) -> None:
        self.blobs = BlobWriter(into)
        self._steps: list[Step] = [name]
        self._numbers: dict[int, int] = {}
        self._held: list[object] = []
        self._open: set[int] = set()

    def child(self, value: object, step: Step) -> Json:
        """A part, whose place is ``step``: an index, ``(key,)`` or an attribute's ``".name"``."""
        if is_bare(value):
            return value
        self._steps.append(step)
        if len(self._steps) > _DEEPEST:
            raise NotEncodable(self._path(), f"nested more than {_DEEPEST} deep")
        made = self._pack(value)
        self._steps.pop()
        return made

    def items(self, values: Iterable[object]) -> list[Json]:
        """The parts of a sequence."""
        return [
            value if is_bare(value) else self.child(value, index)
            for index, value in enumerate(values)
        ]

    def key(self, key: object) -> Json:
        """A key of a mapping."""
        return self.child(key, f".key {key!r}" if is_bare(key) else ".key")

    def _pack(self, value: object) -> Json:
        if leaf := _LEAF_TYPES.get(type(value)):
            try:
                return {leaf.tag: leaf.pack(value)}
            except ValueError as error:
                raise NotEncodable(self._path(), str(error)) from None
        address = id(value)
        if (number := self._numbers.get(address)) is not None:
            if address in self._open:
                raise NotEncodable(self._path(), f"a {type(value).__name__} that holds itself")
            return {"ref": number}
        items = value if type(value) is list else None
        branch = None if items is not None else _branch_of(type(value))
        if branch is None and items is None:
            raise NotEncodable(self._path(), repr(type(value)))
        self._numbers[address] = len(self._numbers)
        self._held.append(value)  # an address must not be used twice in one walk
        if branch is None:
            return self.items(items or ())
        return self._take_apart(branch, value, address)

    def _take_apart(self, branch: Branch, value: object, address: int) -> Json:
        if branch.fixed:
            self._open.add(address)
        try:
            return branch.pack(self, value)
        except (ValueError, NotFoundYet) as error:
            raise NotEncodable(self._path(), str(error)) from None
        finally:
            self._open.discard(address)

    def _path(self) -> str:
        return "".join(map(_spell, self._steps)).lstrip(".")


def _spell(step: Step) -> str:
    if isinstance(step, str):
        return step
    key = step[0] if isinstance(step, tuple) else step
    if type(key) is str and key.isidentifier():
        return f".{key}"
    shown = key.name if isinstance(key, enum.Enum) else key
    return f"[{shown!r}]" if isinstance(shown, str | int | float) else f"[{type(key).__name__}]"


class Decoder:
    """One walk over a document.

    Args:
        blobs: The bytes of its tensors and arrays.
    """

    def __init__(self, blobs: dict[str, torch.Tensor]) -> None:
        self.blobs = BlobReader(blobs)
        self.missing: list[Unresolved] = []
        self._made: list[Any] = []

    def value(self, document: Json) -> Any:
        """The value that a part of the document stands for."""
        if isinstance(document, list):
            made: list[Any] = []
            self._made.append(made)
            made.extend(self.items(document))
            return made
        if not isinstance(document, dict):
            return document
        tag = next(iter(document), "")
        if leaf := _LEAF_TAGS.get(tag):
            return leaf.unpack(document[tag])
        if tag == "ref":
            return self._made[document["ref"]]
        return self._put_together(_BRANCH_TAGS[tag], document)

    def _put_together(self, branch: Branch, document: dict[str, Json]) -> Any:
        number = len(self._made)
        self._made.append(None)

        def keep(value: Any) -> None:
            self._made[number] = value

        made = branch.unpack(self, document, keep)
        keep(made)
        return made

    def items(self, documents: list[Json]) -> list[Any]:
        """The parts of a sequence."""
        return [self.value(document) for document in documents]

    def unresolved(self, class_name: str, content: Any, error: NotFoundYet) -> Unresolved:
        """A stand-in for a value whose class is not there."""
        stand_in = Unresolved(class_name, content, str(error))
        self.missing.append(stand_in)
        return stand_in
