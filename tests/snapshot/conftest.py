"""A snapshot with one of everything, and an equality that tells types and bits apart."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import importlib.util
import pathlib
import struct
import sys
import types
import typing
import uuid

import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("numpy") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import numpy
    import torch
    import torch._dynamo  # optimizers import it, and it sets a variable of the environment

    from hookcore.snapshot import Header, ObjectRecord, Snapshot

CLASSES = types.ModuleType("sample_classes")
CLASSES.Config = dataclasses.make_dataclass("Config", [("lr", float), ("layers", list)])
CLASSES.Slots = dataclasses.make_dataclass("Slots", [("a", int)], slots=True, frozen=True)
CLASSES.Mode = enum.Enum("Mode", ["TRAIN", "EVAL"], module="sample_classes")
CLASSES.Bits = enum.Flag("Bits", ["A", "B", "C"], module="sample_classes")
CLASSES.Pair = typing.NamedTuple("Pair", [("left", int), ("right", list)])
for _cls in (CLASSES.Config, CLASSES.Slots, CLASSES.Pair):
    _cls.__module__ = "sample_classes"


@pytest.fixture
def classes(monkeypatch):
    """The sample's classes, imported."""
    monkeypatch.setitem(sys.modules, "sample_classes", CLASSES)
    return CLASSES


@pytest.fixture
def no_classes(monkeypatch):
    """The sample's classes, not imported yet."""
    monkeypatch.delitem(sys.modules, "sample_classes", raising=False)


def _values():
    shared = [1, 2]
    ordered = collections.OrderedDict([("z", 1), ("a", 2)])
    ordered._metadata = {"": {"version": 2}}
    counts = collections.defaultdict(list, {"x": [1]})
    zone = datetime.timezone(datetime.timedelta(hours=2), "CEST")
    return {
        "bare": [None, True, False, 0, -1, 1.5, -0.0, "", "text", "\u00e9\U0001f600"],
        "numbers": [10**400, -(2**63), float("nan"), float("inf"), -float("inf"), 5e-324, 1e308],
        "complex": [1j, complex(-0.0, float("nan"))],
        "exact": [decimal.Decimal("-0.100"), decimal.Decimal("NaN"), fractions.Fraction(1, 3)],
        "text": ["\ud800", "\ud83d\ude00", "\x00\n"],
        "bytes": [b"", b"\x00\xff", bytearray(b"ab")],
        "tuples": ((), (1, (2,)), torch.Size([1, 2])),
        "maps": [{}, {"k": 1}, {1: "a", (1, 2): "b", None: "c", "\u00e9": 1}, ordered, counts],
        "counter": collections.Counter("hello"),
        "factory": collections.defaultdict(None, {1: 2}),
        "sets": [set(), {1, 2, 300}, frozenset({"a"}), frozenset()],
        "deques": [collections.deque([1, 2], maxlen=2), collections.deque()],
        "spans": [range(0, 10, 3), range(10**30), slice(1, None, 2)],
        "paths": [
            pathlib.PurePosixPath("/a/b"),
            pathlib.PureWindowsPath("c:/x"),
            pathlib.Path("x"),
        ],
        "spaces": [argparse.Namespace(lr=0.1, n=None), types.SimpleNamespace(a=[1])],
        "times": [
            datetime.date(2024, 2, 29),
            datetime.datetime(2024, 1, 1, 12, 30, 0, 5, tzinfo=datetime.timezone.utc),
            datetime.datetime(2024, 1, 1, fold=1, tzinfo=zone),
            datetime.datetime(1, 1, 1),  # noqa: DTZ001  # without a zone on purpose
            datetime.time(1, 2, 3, tzinfo=zone),
            datetime.timedelta(-1, 5, 7),
            zone,
        ],
        "uuid": uuid.UUID(int=7),
        "torch": [torch.float32, torch.bfloat16, torch.device("cuda:1"), torch.strided],
        "format": torch.channels_last,
        "shared": [shared, shared, {"again": shared}],
        "config": CLASSES.Config(0.1, [1, 2]),
        "slots": CLASSES.Slots(3),
        "mode": [CLASSES.Mode.EVAL, {CLASSES.Mode.TRAIN: 1}],
        "flags": [CLASSES.Bits.A, CLASSES.Bits.A | CLASSES.Bits.C, CLASSES.Bits(0)],
        "pair": CLASSES.Pair(1, [2]),
        "scalars": [
            numpy.float64(0.1),
            numpy.float32("nan"),
            numpy.int8(-3),
            numpy.bool_(True),
            numpy.complex64(1j),
            numpy.str_("x"),
            numpy.bytes_(b"x"),
            numpy.datetime64("2024-01-01T00:00:00", "ms"),
        ],
        "arrays": [
            numpy.arange(6, dtype=">i4").reshape(2, 3),
            numpy.asfortranarray(numpy.ones((2, 3))),
            numpy.zeros((0, 3)),
            numpy.array(5.0),
            numpy.array(["a", "bcd"]),
            numpy.array([True, False]),
        ],
        "tensors": _tensors(),
    }


def _tensors():
    dtypes = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "complex64", "uint8"]
    dtypes += ["int8", "int16", "int32", "int64", "bool"]
    base = torch.arange(12.0).reshape(3, 4)
    sparse = torch.sparse_coo_tensor(
        [[0, 1, 1], [2, 0, 0]], [3.0, 4.0, 5.0], (2, 3), check_invariants=True
    )
    return {
        "dtypes": [torch.arange(3).to(getattr(torch, name)) for name in dtypes],
        "odd": [torch.tensor(1.5), torch.empty(0, 3), torch.empty((2, 0)), base.t()],
        "views": [base, base[1], base[:, 1:3], base.view(torch.int32)],
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
        "last": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "parameter": [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(base[0], False)],
        "grad": torch.ones(2, requires_grad=True),
        "sparse": [sparse, sparse.coalesce()],
        "same": [base, base],
    }


def _snapshot(**changes):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    fields = {
        "header": Header(
            kind="epoch",
            reason="each epoch",
            run="train",
            argv=["train.py", "--lr", "0.1"],
            created="2024-05-06T07:08:09.000010+00:00",
            versions={"hookcore": "0.1.0", "torch": "2.13.0"},
        ),
        "position": {"sites": [("train.py", 0)], "epoch": 3, "step": 12, "digests": {"a": "b"}},
        "objects": [
            ObjectRecord(
                "model", "module", "torch.nn:Sequential", model.state_dict(), {"t": [True]}
            ),
            ObjectRecord("self.opt", "optimizer", "torch.optim:Adam", optimizer.state_dict()),
        ],
        "variables": _values(),
        "rng": {"torch": torch.get_rng_state(), "numpy": numpy.random.RandomState(1).get_state()},
        "plugins": {
            "earlystop": {"version": "0.1", "state": {"best": 0.5, "weights": torch.ones(2)}}
        },
        "metrics": {"loss": 0.25, "val": float("nan")},
        "notes": ["variables.log: <class 'io.TextIOWrapper'>"],
    }
    return Snapshot(**{**fields, **changes})


@pytest.fixture
def make_snapshot(classes):
    """Makes a snapshot with one of everything; keyword arguments replace fields."""
    return _snapshot


@pytest.fixture
def values(classes):
    """One value of each type that can be kept."""
    return _values()


def _bits(number):
    return struct.pack(">d", number)


def _same(left, right, seen=None):  # noqa: C901  # one branch a type is what it is about
    seen = {} if seen is None else seen
    if type(left) is not type(right):
        return False
    if id(left) in seen:
        return seen[id(left)] is right
    if isinstance(left, list | dict | set | torch.Tensor | numpy.ndarray | types.SimpleNamespace):
        seen[id(left)] = right
    if isinstance(left, torch.Tensor):
        return _same_tensor(left, right)
    if isinstance(left, numpy.ndarray | numpy.generic):
        return (
            left.dtype == right.dtype
            and left.shape == right.shape
            and (left.tobytes() == right.tobytes())
        )
    if isinstance(left, enum.Enum):
        return left is right
    if type(left) is float:
        return _bits(left) == _bits(right)
    if type(left) is complex:
        return _same((left.real, left.imag), (right.real, right.imag))
    if isinstance(left, dict):
        extras = ("default_factory", "__dict__")
        return _same_items(left.items(), right.items(), seen) and all(
            _same(getattr(left, name, None), getattr(right, name, None), seen) for name in extras
        )
    if isinstance(left, list | tuple | collections.deque):
        limit = getattr(left, "maxlen", None) == getattr(right, "maxlen", None)
        return limit and _same_items(left, right, seen)
    if isinstance(left, argparse.Namespace | types.SimpleNamespace):
        return _same(vars(left), vars(right), seen)
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return all(_same(getattr(left, n), getattr(right, n), seen) for n in names)
    if isinstance(left, decimal.Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, datetime.datetime | datetime.time):
        zones = _same(left.tzinfo, right.tzinfo)
        return (
            zones and left == right and (left.fold, left.tzname()) == (right.fold, right.tzname())
        )
    return left == right


def _same_items(left, right, seen):
    return len(left) == len(right) and all(
        _same(a, b, seen) for a, b in zip(left, right, strict=True)
    )


def _same_tensor(left, right):
    if left.layout != torch.strided:
        parts = [(each._indices(), each._values()) for each in (left, right)]
        whole = left.shape == right.shape and left.is_coalesced() == right.is_coalesced()
        return whole and _same(*parts)
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.stride() == right.stride()
        and left.requires_grad == right.requires_grad
        and left.contiguous()
        .flatten()
        .view(torch.uint8)
        .equal(right.contiguous().flatten().view(torch.uint8))
    )


@pytest.fixture(scope="session")
def same():
    """Equality with exact types, bits, order, strides and sharing."""
    return _same


PARTS = ("position", "objects", "variables", "rng", "plugins", "metrics", "notes")


@pytest.fixture
def same_snapshot():
    """Equality of two snapshots."""

    def compare(left, right):
        objects = [
            (dataclasses_of(a), dataclasses_of(b))
            for a, b in zip(left.objects, right.objects, strict=True)
        ]
        return (
            left.header == right.header
            and all(_same(a, b) for a, b in objects)
            and all(_same(getattr(left, n), getattr(right, n)) for n in PARTS if n != "objects")
        )

    def dataclasses_of(record):
        return [record.name, record.kind, record.class_name, record.state, record.extras]

    return compare
