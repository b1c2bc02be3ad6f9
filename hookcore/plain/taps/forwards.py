"""Forward calls of the trained root modules: how a validation is told from training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch

from hookcore.plain import gate
from hookcore.plain.taps.replaced import Replaced

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain

_HOOK_DICTS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


class Forwards:
    """Hooks on root modules, in place only while somebody needs them.

    They never leave the process: a module that is copied or pickled meanwhile is copied and
    pickled without them.

    Attributes:
        judging: Whether a call may be an evaluation. Else the hooks are on the modules only where
            a plugin listens to forward calls, which changes nothing that others hear.
        sign: Batches that were done at the last sign that an evaluation may follow, where calls are
            judged for that alone; else None. It ends after a whole batch without a sign.
        mode: What has switched gradients off, where that is the only sign and no module was called
            since; else None. It ends when that is left.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self.judging = False
        self.sign: int | None = None
        self.mode: Any = None
        self._in_vain = False
        self._watched: list[tuple[Any, tuple[Any, Any]]] = []
        self._places: list[tuple[Any, int, Any]] = []
        self._roots: Mapping[Any, Any] = {}
        self._reduce: Replaced | None = None

    def watch(self, models: Iterable[Any], roots: Mapping[Any, Any]) -> None:
        """Judge the forward calls of these modules.

        Args:
            models: The modules.
            roots: Those that stand for another one: what ``torch.compile`` has made of it.
        """
        self._roots = roots
        self.judge_again()
        known = {id(model) for model, _ in self._watched}
        for model in models:
            if id(model) not in known:
                handles = (
                    model.register_forward_pre_hook(self._began, with_kwargs=True),
                    model.register_forward_hook(self._ended),
                )
                self._watched.append((model, handles))
                self._places += [place for handle in handles for place in _places(handle)]
        self.judging = bool(self._watched)
        if self._watched and self._reduce is None:
            ours = self._reducer(torch.nn.Module.__reduce_ex__)
            self._reduce = Replaced(torch.nn.Module, "__reduce_ex__", ours)

    def unwatch(self) -> None:
        """Take the hooks back."""
        self.rest()
        for _, handles in self._watched:
            for handle in handles:
                handle.remove()
        self._watched.clear()
        self._places.clear()
        if self._reduce is not None and self._reduce.put_back():
            self._reduce = None

    def judge_again(self) -> bool:
        """Judge calls of the modules that are known; False where there are none.

        Each batch may come here: nothing is called.
        """
        for hooks, number, hook in self._places:
            hooks[number] = hook
            self.judging = True
        return self.judging

    def rest(self) -> None:
        """Judge no call until there is a reason; the hooks stay only where a plugin listens."""
        self.judging = False
        self.sign = self.mode = None
        events = self._host.life.events
        if events.on_forward_start is not None or events.on_forward_end is not None:
            return
        for hooks, number, _ in self._places:
            if number in hooks:  # the user may have cleared them
                del hooks[number]

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Take the hooks back for as long as torch compiles a model with its hooks."""
        models, judging, sign = [model for model, _ in self._watched], self.judging, self.sign
        self.unwatch()
        try:
            yield
        finally:
            self.watch(models, self._roots)
            if not judging:
                self.rest()
            self.sign = sign

    def _began(self, module: Any, args: Any, kwargs: Any) -> None:
        if gate.compiling():
            return  # traced: a constant to Dynamo, and nothing of us is in the graph
        host = self._host
        fit = host.life.fit
        if fit is None or gate.host is not host or host.thread != get_ident():
            return  # what host.mine() says, written out: each batch of a loop of one level asks
        if self.judging:
            self._judge(module, args, fit.batches)
        fire = host.life.events.on_forward_start
        if fire is not None:
            fire(host.run, fit, self._roots.get(module, module), args, kwargs)

    def _judge(self, module: Any, args: Any, batches: int) -> None:
        evaluation = self._host.evaluation
        self.mode = None
        if not torch.is_grad_enabled():
            evaluation.called(args, module.training)
        elif not module.training or evaluation.may_be_forgetful():
            evaluation.called_with_gradients()
        elif self._host.life.in_validation:
            self._host.trained()
        elif self.sign is not None and batches > self.sign + 1:
            self._in_vain = True
        evaluation.calling = True

    def _ended(self, module: Any, _args: Any, output: Any) -> None:
        if gate.compiling():
            return
        host = self._host
        host.evaluation.calling = False
        if self._in_vain:
            self._in_vain = False
            self.rest()
        fire = host.life.events.on_forward_end
        if fire is not None and host.life.fit is not None and host.mine():
            fire(host.run, host.life.fit, self._roots.get(module, module), output)

    def _reducer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``Module.__reduce_ex__`` that leaves our hooks out of copies and pickles."""
        watched = self._watched

        def reduce_ex(module: Any, protocol: Any) -> Any:
            reduced = original(module, protocol)
            ours = next((handles for model, handles in watched if model is module), None)
            if ours is None or not isinstance(reduced, tuple) or len(reduced) < 3:
                return reduced
            state = reduced[2]
            if not isinstance(state, dict):
                return reduced
            numbers = {handle.id for handle in ours}
            clean = dict(state)
            for name in _HOOK_DICTS:
                if name in clean:
                    kept = [(k, v) for k, v in clean[name].items() if k not in numbers]
                    clean[name] = type(clean[name])(kept)
            return (*reduced[:2], clean, *reduced[3:])

        return reduce_ex


def _places(handle: Any) -> Iterator[tuple[Any, int, Any]]:
    """What torch has put where for a hook: each dictionary, the key and the value."""
    for reference in (handle.hooks_dict_ref, *handle.extra_dict_ref):
        hooks = reference()
        if hooks is not None and handle.id in hooks:
            yield hooks, handle.id, hooks[handle.id]
