"""The closed encoder: what goes in comes out, and what cannot go in is named."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import sys
import threading
import types
import typing

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hookcore.errors import SnapshotError
from hookcore.snapshot import Encoded, Memory, NotEncodable, Unresolved, decode, encodable, encode
from hookcore.snapshot.codec import TAGS


def through_json(value, name="value"):
    encoded = encode(value, name)
    text = json.dumps(encoded.document, allow_nan=False)
    return decode(Encoded(json.loads(text), encoded.blobs))


def test_every_value_of_the_sample_comes_back(values, same):
    for name, value in values.items():
        assert same(value, through_json(value)), name
    assert same(values, through_json(values))


def test_the_sample_holds_every_tag(values):
    document = json.dumps(encode(values).document)
    # Two kinds of path, and the concrete one of the other system, cannot be made on one machine.
    other = {"WindowsPath", "PosixPath"} - {type(values["paths"][2]).__name__}
    assert {tag for tag in TAGS if f'{{"{tag}": ' not in document} == other


HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions(),
    lambda parts: st.tuples(parts, parts) | st.frozensets(parts, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    HASHABLE
    | st.floats()
    | st.complex_numbers()
    | st.datetimes(timezones=st.sampled_from([datetime.timezone.utc]) | st.none())
    | st.sets(HASHABLE, max_size=3),
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.dictionaries(HASHABLE, parts, max_size=4)
        | st.dictionaries(st.text(max_size=3), parts, max_size=4).map(collections.OrderedDict)
        | st.lists(parts, max_size=3).map(collections.deque)
        | st.tuples(parts, parts)
        | parts.map(lambda part: [part, part])
    ),
    max_leaves=20,
)


@given(VALUES)
def test_round_trip(same, value):
    assert same(value, through_json(value))


@given(st.text(st.characters(categories=["Cs", "Lu"]), max_size=6))
def test_lone_surrogates_stay_apart(text):
    assert through_json(text) == text
    assert list(through_json({text: 1})) == [text]


def test_shared_lists_and_cycles():
    inner = [1]
    outer = [inner, inner, {"inner": inner}]
    outer.append(outer)
    table = {"list": outer}
    table["self"] = table
    back = through_json(table)
    assert back["list"][0] is back["list"][1] is back["list"][2]["inner"]
    assert back["list"][3] is back["list"]
    assert back["self"] is back


def test_a_tuple_that_holds_itself_is_refused():
    inner = []
    loop = (inner,)
    inner.append(loop)
    with pytest.raises(NotEncodable, match="a tuple that holds itself"):
        encode(loop)
    assert through_json(inner)[0][0][0][0] is not None  # from the list's side the knot can be tied


def test_a_dataclass_may_hold_itself(classes):
    config = classes.Config(0.1, [])
    config.layers.append(config)
    back = through_json(config)
    assert back.layers[0] is back


def test_tensors_share_memory_again():
    base = torch.arange(12.0)
    back = through_json({"base": base, "view": base[3:6], "bits": base.view(torch.int32)})
    back["base"][4] = 100.0
    assert back["view"][1] == 100.0
    assert back["bits"][4] == torch.tensor(100.0).view(torch.int32)
    same_one = through_json([base, base])
    assert same_one[0] is same_one[1]


def test_a_slice_does_not_take_the_data_set_along():
    data = torch.zeros(1_000_000)
    encoded = encode([data[500_000:500_010], data[500_005:500_020]])
    assert sum(blob.untyped_storage().nbytes() for blob in encoded.blobs.values()) < 200
    first, second = decode(encoded)
    first[9] = 7.0
    assert second[4] == 7.0


def test_a_decoded_leaf_can_be_trained():
    parameter = through_json(torch.nn.Parameter(torch.ones(2)))
    (parameter * 2).sum().backward()
    assert parameter.grad.tolist() == [2.0, 2.0]
    leaf = through_json(torch.ones(2, requires_grad=True))
    assert leaf.is_leaf
    assert leaf.requires_grad


def test_a_graph_stays_behind():
    loss = (torch.ones(2, requires_grad=True) * 2).sum()
    back = through_json(loss)
    assert back.item() == 4.0
    assert not back.requires_grad


def test_conjugate_and_negative_views():
    value = torch.tensor([1 + 2j, 3 - 1j])
    back = through_json([value.conj(), value.conj().imag])
    assert back[0].tolist() == [1 - 2j, 3 + 1j]
    assert back[1].tolist() == [-2.0, 1.0]


def test_a_tensor_made_in_inference_mode_can_be_kept():
    with torch.inference_mode():
        value = torch.ones(2)
        back = through_json(value)
    assert not back.is_inference()
    assert back.tolist() == [1.0, 1.0]


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", ["csr", "csc", "bsr", "bsc"])
def test_compressed_layouts(layout):
    dense = torch.eye(4)
    size = {"blocksize": (2, 2)} if layout.startswith("b") else {}
    value = getattr(dense, f"to_sparse_{layout}")(**size)
    back = through_json(value)
    assert back.layout == value.layout
    assert back.to_dense().equal(dense)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("part", [(), (slice(None), 1), (slice(None, None, -1),)], ids=str)
def test_parts_of_arrays(order, part):
    array = numpy.arange(24).astype("<M8[s]").reshape((2, 3, 4), order=order)[part]
    assert numpy.array_equal(through_json(array), array)


def test_staging_copies_arrays():
    array = numpy.arange(3)
    encoded = encode(array, into=Memory())
    array[0] = 9
    assert decode(encoded)[0] == 0


def test_a_read_only_array_and_its_order():
    array = numpy.asfortranarray(numpy.arange(6).reshape(2, 3))
    array.flags.writeable = False
    back = through_json(array)
    assert back.flags.f_contiguous
    assert not back.flags.writeable
    assert through_json(numpy.arange(3)).flags.owndata


class Local:
    """In no closed set."""


class Lists(list):
    """A list that knows more than a list."""


def quantized():
    return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Local, "Local'>"),
        (Lists, "Lists'>"),
        (lambda: print, "builtin_function_or_method"),
        (threading.Lock, "lock"),
        (lambda: int, "<class 'type'>"),
        (lambda: iter([]), "list_iterator"),
        (lambda: collections.defaultdict(lambda: 1), "a defaultdict that makes its values with"),
        (lambda: numpy.array([object()]), "numpy data of the type object"),
        (lambda: numpy.zeros(2, dtype=[("a", "i4")]), "numpy data of the type ["),
        (lambda: numpy.longdouble(1), "float128"),
        (lambda: numpy.bytes_(b"a\0"), "drops the zeros"),
        (lambda: torch.empty(2, device="meta"), "meta"),
        (quantized, "quantized"),
        (lambda: torch.nn.Linear(1, 1), "Linear"),
        (lambda: torch.max(torch.eye(2), 0), "torch.return_types.max"),
        (lambda: enum.Enum("Here", "A").A, "defines no class Here"),
        (lambda: typing.NamedTuple("Here", [("a", int)])(1), "no class Here"),
    ],
)
def test_what_cannot_be_kept_is_named(make, reason):
    history = {"history": [0, 1, 2, {"model": make()}]}
    found = encodable(history, "variables")
    assert found.startswith("variables.history[3].model")
    assert reason in found
    with pytest.raises(NotEncodable) as caught:
        encode(history, "variables")
    assert caught.value.path.startswith("variables.history[3].model")
    assert caught.value.way_out


def test_what_can_be_kept_has_no_reason(values):
    assert encodable(values) is None


def test_nesting_has_an_end():
    deep = []
    for _ in range(1000):
        deep = [deep]
    assert "deep" in encodable(deep)
    fits = []
    for _ in range(140):
        fits = [fits]
    assert through_json(fits) == fits


def test_a_class_that_is_not_imported_waits(classes, monkeypatch):
    encoded = encode([classes.Config(0.1, [1]), classes.Mode.EVAL, {classes.Pair(1, 2): 3}])
    monkeypatch.delitem(sys.modules, "sample_classes")
    config, mode, table = decode(encoded, strict=False)
    assert isinstance(config, Unresolved)
    assert config.class_name == "sample_classes:Config"
    assert config.content == {"lr": 0.1, "layers": [1]}
    assert mode.content == "EVAL"
    assert next(iter(table)).content == {"left": 1, "right": 2}
    with pytest.raises(SnapshotError, match="sample_classes is not imported"):
        decode(encoded)


def test_a_class_that_changed_is_said(classes, monkeypatch):
    encoded = encode([classes.Config(0.1, []), classes.Mode.EVAL, classes.Pair(1, 2)])
    config = dataclasses.make_dataclass("Config", [("lr", float), ("layers", list), ("new", int)])
    monkeypatch.setattr(classes, "Config", config)
    monkeypatch.setattr(classes, "Mode", enum.Enum("Mode", ["TRAIN"]))
    monkeypatch.setattr(classes, "Pair", typing.NamedTuple("Pair", [("a", int), ("b", int)]))
    with pytest.raises(SnapshotError) as caught:
        decode(encoded)
    assert "a field new now that was not saved" in caught.value.why
    assert "no member EVAL" in caught.value.why
    assert "other fields now" in caught.value.why


def test_rebuilding_runs_no_code_of_the_class(classes, monkeypatch):
    calls = []

    @dataclasses.dataclass
    class Loud:
        a: int

        def __post_init__(self):
            calls.append("post_init")

        def __setattr__(self, name, value):
            calls.append("setattr")
            object.__setattr__(self, name, value)

        def __setstate__(self, state):
            calls.append("setstate")

        def __reduce__(self):
            calls.append("reduce")
            return (Loud, (1,))

    Loud.__module__, Loud.__qualname__ = "sample_classes", "Loud"
    monkeypatch.setattr(classes, "Loud", Loud, raising=False)
    value = Loud(1)
    calls.clear()
    assert through_json(value).a == 1
    assert calls == []


@pytest.mark.parametrize("kind", ["dataclass", "namedtuple", "enum"])
@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "builtins:list", "nowhere:X"])
def test_a_forged_class_name_is_never_called(kind, name):
    document = {kind: name, "fields": {}, "values": [], "member": "x"}
    if kind == "namedtuple":
        document["fields"] = []
    assert isinstance(decode(Encoded(document, {}), strict=False), Unresolved)


def test_a_lazy_module_is_not_woken(monkeypatch):
    class Lazy(types.ModuleType):
        def __getattribute__(self, name):
            raise AssertionError(f"woken for {name}")

    monkeypatch.setitem(sys.modules, "lazy_one", Lazy("lazy_one"))
    document = {"dataclass": "lazy_one:X", "fields": {}}
    assert isinstance(decode(Encoded(document, {}), strict=False), Unresolved)


TENSOR = {"dtype": "float32", "size": [4], "stride": [1], "bytes": {"blob": 0, "offset": 0}}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"no such tag": 1},
        {"ref": 5},
        {"dict": [[[], 1]]},
        {"tensor": {**TENSOR, "size": [5]}},
        {"tensor": {**TENSOR, "stride": [2]}},
        {"tensor": {**TENSOR, "stride": [-1]}},
        {"tensor": {**TENSOR, "stride": [1, 1]}},
        {"tensor": {**TENSOR, "bytes": {"blob": 0, "offset": 4}}},
        {"tensor": {**TENSOR, "bytes": {"blob": 0, "offset": -4}}},
        {"tensor": {**TENSOR, "bytes": {"blob": 0, "offset": 2}, "size": [1]}},
        {"tensor": {**TENSOR, "bytes": {"blob": 9, "offset": 0}}},
        {"tensor": {**TENSOR, "dtype": "nn"}},
        {"dtype": "load"},
        {"ndarray": {"dtype": "|O", "size": [1]}},
        {"ndarray": {"dtype": "<f4", "size": [9], "bytes": {"blob": 0, "offset": 0}, "count": 16}},
        {"int": "zz"},
        {"bytes": "?"},
        {"Decimal": "x"},
    ],
)
def test_a_forged_document_is_refused(document):
    blobs = {"0": torch.zeros(16, dtype=torch.uint8)}
    with pytest.raises(SnapshotError):
        decode(Encoded(document, blobs))
