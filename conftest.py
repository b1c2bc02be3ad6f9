"""What holds for every test, the core's and the plugins': no network, nothing left behind.

It stands at the root because the plugins' tests stand beside the plugins.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # The same examples in each run, and no clock: a slow machine is no failure.
    settings.register_profile("hookcore", deadline=None, derandomize=True, database=None)
    settings.load_profile("hookcore")

# A job that a shell put in the background ignores Ctrl-C, and so would every child of the tests.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

STOCK = {"hookcore-progress", "hookcore-lr", "hookcore-earlystop", "hookcore-checkpoint"}
HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_PLUGINS = {dist.name for dist in importlib.metadata.distributions()} >= STOCK

# Set by pytest for each phase of a test, and by scikit-learn and torch._dynamo (which torch's
# optimizers import) when they are first imported.
NOT_OURS = {
    "PYTEST_CURRENT_TEST",
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "TORCHINDUCTOR_CACHE_DIR",
}


def pytest_configure() -> None:
    """One thread a process, here and in what a test starts; said before torch is imported."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    for name in [name for name in os.environ if name.startswith("HOOKCORE")]:
        del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked as needing what this environment lacks."""
    lacking = []
    if not HAS_TORCH:
        lacking.append(("torch", pytest.mark.skip(reason="needs torch")))
    if not HAS_PLUGINS:
        lacking.append(("plugins", pytest.mark.skip(reason="needs the four plugins")))
    for item in items:
        for marker, skip in lacking:
            if item.get_closest_marker(marker):
                item.add_marker(skip)


def surroundings() -> dict[str, Any]:
    """What a test finds and must leave: variables, folder, arguments, handlers, import hooks."""
    found: dict[str, Any] = {f"${k}": v for k, v in os.environ.items() if k not in NOT_OURS}
    found["working folder"] = str(Path.cwd())
    found["sys.argv"] = list(sys.argv)
    found["sys.excepthook"] = sys.excepthook
    for name in ("SIGINT", "SIGTERM"):
        found[name] = signal.getsignal(getattr(signal, name))
    found["hookcore's import hooks"] = [
        finder for finder in sys.meta_path if type(finder).__module__.startswith("hookcore")
    ]
    return found


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line for each thing that is not as it was."""
    missing = "(nothing)"
    return [
        f"{key}: {before.get(key, missing)!r} -> {after.get(key, missing)!r}"
        for key in sorted({*before, *after})
        if before.get(key, missing) != after.get(key, missing)
    ]


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Each test leaves its surroundings as it found them."""
    folder, variables = Path.cwd(), dict(os.environ)
    before = surroundings()
    yield
    changes = difference(before, surroundings())
    if changes:
        # Mended for the next test, so that only the one that did it fails.
        os.chdir(folder)
        for name in set(os.environ) - set(variables):
            del os.environ[name]
        os.environ.update(variables)
        pytest.fail("the test changed its surroundings:\n  " + "\n  ".join(changes), pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """No test reaches beyond this machine."""
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host not in ("localhost", "::1") and not host.startswith("127."):
                raise OSError(f"a test reached for the network: {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", only_here)
        yield
