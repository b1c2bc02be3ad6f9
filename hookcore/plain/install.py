"""The ways into a user's code: an import hook, a faithful ``__main__``, a swap in place."""

from hookcore.plain.finder import Finder, Loader
from hookcore.plain.frames import strip_frames
from hookcore.plain.roots import Roots, folders, roots_of
from hookcore.plain.script import Target, run_module, run_script
from hookcore.plain.swap import Refusal, Swapped, swap
from hookcore.plain.unwrap import unwrap

__all__ = [
    "Finder",
    "Loader",
    "Refusal",
    "Roots",
    "Swapped",
    "Target",
    "folders",
    "roots_of",
    "run_module",
    "run_script",
    "strip_frames",
    "swap",
    "unwrap",
]
