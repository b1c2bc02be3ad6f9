"""The ways into a user's code: an import hook, a faithful ``__main__``, a swap in place."""

from hookcore.plain.loading.finder import Finder, Loader
from hookcore.plain.loading.frames import strip_frames
from hookcore.plain.loading.roots import Roots, folders, roots_of
from hookcore.plain.loading.script import Target, run_module, run_script
from hookcore.plain.loading.swap import Refusal, Swapped, swap
from hookcore.plain.loading.unwrap import Unswappable, unwrap

__all__ = [
    "Finder",
    "Loader",
    "Refusal",
    "Roots",
    "Swapped",
    "Target",
    "Unswappable",
    "folders",
    "roots_of",
    "run_module",
    "run_script",
    "strip_frames",
    "swap",
    "unwrap",
]
