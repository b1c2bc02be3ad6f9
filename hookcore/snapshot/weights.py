"""The weights alone, for inference: a file that other programs read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hookcore.errors import SnapshotError, UsageError

from .draft import hidden_name
from .store import read


def export(folder: str | Path, target: str | Path) -> Path:
    """Writes the models' weights of a checkpoint into one file.

    With one model the keys are its ``state_dict``'s own; with several each key begins with the
    model's path name and a dot.

    Args:
        folder: The checkpoint.
        target: A new file, ``.safetensors`` or ``.pt``.

    Returns:
        The file.

    Raises:
        UsageError: The file's name ends otherwise, or it exists.
        SnapshotError: The checkpoint is bad, or its weights do not fit the file.
    """
    path = Path(target)
    save = _SAVERS.get(path.suffix)
    if save is None:
        raise UsageError(f"cannot export to {path}", "its name says no known format", _NAMES)
    if os.path.lexists(path):
        raise UsageError(f"cannot export to {path}", "it exists already", "choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"cannot export to {path}", f"there is no folder {path.parent}", "make it")
    weights = _weights(folder)
    draft = path.parent / hidden_name(path.name)
    try:
        save(weights, draft, path)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        way_out = "free space, or choose another folder" if isinstance(error, OSError) else _NAMES
        raise SnapshotError(f"{path} was not written", str(error), way_out) from error
    finally:
        draft.unlink(missing_ok=True)
    return path


_NAMES = "name the file *.safetensors or *.pt"


def _weights(folder: str | Path) -> dict[str, Any]:
    modules = [record for record in read(folder).objects if record.kind == "module"]
    if not modules:
        raise SnapshotError(f"{folder} holds no model's weights")
    if len(modules) == 1:
        return dict(modules[0].state)
    return {f"{each.name}.{key}": value for each in modules for key, value in each.state.items()}


def _save_pt(weights: dict[str, Any], draft: Path, _target: Path) -> None:
    torch.save({key: _plain(value) for key, value in weights.items()}, draft)
    torch.load(
        draft, map_location="cpu", weights_only=True
    )  # what pickle alone could read is refused


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _save_safetensors(weights: dict[str, Any], draft: Path, target: Path) -> None:
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise SnapshotError(
            f"{target} was not written",
            f"{type(error).__name__}: {error}",
            "pip install safetensors     or name the file *.pt",
        ) from error
    for key, value in weights.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            kind = value.layout if isinstance(value, torch.Tensor) else type(value).__name__
            raise SnapshotError(
                f"{target} was not written",
                f"{key} is a {kind}, and .safetensors holds nothing but plain tensors",
                "name the file *.pt",
            )
    # The format knows no shared memory: tied weights are written under each of their names.
    whole = {
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in weights.items()
    }
    # Its save_file makes a file that only its owner may read, whatever the umask.
    draft.write_bytes(save(whole, metadata={"format": "pt"}))


_SAVERS: dict[str, Callable[[dict[str, Any], Path, Path], None]] = {
    ".pt": _save_pt,
    ".safetensors": _save_safetensors,
}
