"""Checkpoints as files: what a run needs to go on, to the disk and back, bit for bit.

A snapshot is filled by whoever knows the run, and written into a folder of its own::

    from hookcore.snapshot import Header, ObjectRecord, Snapshot, read, stage, write

    snapshot = Snapshot(
        header=Header(kind="epoch", reason="each epoch", run="train"),
        position={"epoch": 3, "step": 1200},
        objects=[ObjectRecord("model", "module", "torch.nn:Linear", model.state_dict())],
        variables={"history": [0.7, 0.4, 0.3]},
    )
    staged = stage(snapshot)                    # from here on the training may go on
    write(staged, "checkpoints/train/epoch-3")  # whole and verified, or an error and nothing there

``Job`` does the second of these in a thread of its own, and waits at the breaks of ``forks`` when
the training forks; ``Memory`` is what one staging after the other is copied into.

A folder holds ``manifest.json`` (what it is, and the SHA-256 of the rest), ``state.json`` (all
values) and ``tensors.pt`` (all bytes). Reading verifies every byte, and runs nothing that it
reads::

    folder = latest("checkpoints/train")        # the newest good one; warns of each bad one
    snapshot = read(folder)
    ...                                         # the script runs and defines its classes
    snapshot = snapshot.resolve()               # now its dataclasses and enums are there

What a snapshot can hold is a closed set of types (``leaves``, ``containers``, ``tensors``); ask
before the first step rather than at the first save::

    encodable(history, "history")               # None, or "history[3].model: <class 'Model'>"

Lists, dictionaries, tensors and arrays that are shared come back shared. Left out: autograd graphs,
and the order in which a set was grown (the order it is walked in is kept).

    check_directory(path, needed)   why saving there will fail, before the first step
    list_checkpoints(path)          newest first, the bad ones with the reason
    manifest(folder)                what it is, without the tensors
    receive(folder, opened)         one whose files come from elsewhere
    verify(folder)                  all checks of ``read``, nothing kept
    remove(folder)                  only what is provably a checkpoint
    clean_stale(path)               what dead processes left half-written
    Hold(path)                      marks a directory as in use
    mark_latest(folder)             the link ``latest`` beside it
    export(folder, "model.pt")      the weights alone, for inference
"""

from .background import Job
from .blobs import Memory
from .classes import Unresolved, find_class, is_rebuildable
from .codec import Encoded, NotEncodable, decode, encodable, encode, has_form
from .manifests import FileSum, Manifest, NewerFormat, manifest
from .model import FORMAT, Header, ObjectRecord, Snapshot, Staged, stage
from .shelf import (
    LATEST,
    Entry,
    Hold,
    check_directory,
    clean_stale,
    latest,
    list_checkpoints,
    mark_latest,
    remove,
)
from .store import read, receive, verify, write
from .tensors import home
from .weights import export

__all__ = [
    "FORMAT",
    "LATEST",
    "Encoded",
    "Entry",
    "FileSum",
    "Header",
    "Hold",
    "Job",
    "Manifest",
    "Memory",
    "NewerFormat",
    "NotEncodable",
    "ObjectRecord",
    "Snapshot",
    "Staged",
    "Unresolved",
    "check_directory",
    "clean_stale",
    "decode",
    "encodable",
    "encode",
    "export",
    "find_class",
    "has_form",
    "home",
    "is_rebuildable",
    "latest",
    "list_checkpoints",
    "manifest",
    "mark_latest",
    "read",
    "receive",
    "remove",
    "stage",
    "verify",
    "write",
]
