"""``instrument``: the user's own loop, called as before, inside a run."""

from __future__ import annotations

import atexit
import functools
import inspect
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from hookcore.errors import HookcoreError, HookcoreWarning, UsageError, three_parts
from hookcore.hookspecs import How
from hookcore.plain import gate
from hookcore.plain.adapter import Plain
from hookcore.plain.explicit import settings_of_call, way_of
from hookcore.plain.loading.install import Swapped, Unswappable, swap, unwrap
from hookcore.session import Session
from hookcore.settings import switched_on
from hookcore.training import Run

P = ParamSpec("P")
R = TypeVar("R")


class Instrumented(Generic[P, R]):
    """A loop that opens a run when it is called. Signature, result and exceptions are its own.

    Where its code cannot be replaced, its run observes: no epoch, no batch, but every step.

    Called inside a run it joins that run. Where it trains one epoch a call, its calls are the
    epochs of one run, which stays open until the program ends, :meth:`close` is called, or a call
    raises.

    Attributes:
        run: The last run, None before the first call.
    """

    def __init__(self, loop: Callable[P, R], call: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, loop)
        self.__wrapped__ = loop
        self.run: Run | None = None
        self._loop = loop
        self._call = dict(call)
        self._swapped: Swapped | None = None
        self._observes = False
        self._session: Session | None = None
        self._running = False

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._loop)

    def __repr__(self) -> str:
        return f"<instrumented {self._loop!r}>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        """By reference: in another process the loop is instrumented anew."""
        module, name = getattr(self._loop, "__module__", ""), getattr(
            self._loop, "__qualname__", ""
        )
        if _named(module, name) is self:
            return (_named, (module, name))
        return (_instrumented, (self._loop, self._call))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the loop, inside a run of its own or the one that is open."""
        session = self._session
        if session is not None and session.host.mine():
            return self._continue(session, args, kwargs)
        if gate.host is not None:
            self._say_why_not(gate.live() is not None)
            return self._loop(*args, **kwargs)
        settings = settings_of_call(self._call, "instrument")
        if not settings.enabled:
            return self._loop(*args, **kwargs)
        self.rewrite()
        if self._swapped is not None:
            self._swapped.refresh()  # what has been defined since, below a decorator above all
        host = Plain(calls=True)
        host.unfollowed.known = self._observes
        session = Session(settings, _name_of(self._loop), host)
        self.run = session.open()
        self._session = session
        return self._inside(session, args, kwargs)

    def rewrite(self) -> None:
        """Give the loop's files their new code, if they have not got it yet.

        Raises:
            NotRewritable: It is nothing that trains when it is called; says why.
        """
        if self._swapped is not None or self._observes:
            return
        try:
            self._swapped = swap(unwrap(self._loop))
        except Unswappable as error:
            self._observes = True
            what = error.what.replace("cannot be instrumented", "is observed only")
            why = f"{error.why}\nits steps are seen, its loops are not: nothing ends or resumes it"
            warnings.warn(HookcoreWarning(three_parts(what, why, error.way_out)), stacklevel=4)

    def close(self) -> None:
        """End the run that stays open between calls, if there is one."""
        self._end("finished", None)

    def restore(self) -> None:
        """Put the original code back into every function of the loop's files."""
        self.close()
        if self._swapped is not None:
            self._swapped.restore()

    def _continue(self, session: Session, args: Any, kwargs: Any) -> R:
        if self._running:  # the loop calls itself: it is inside its own run
            return self._loop(*args, **kwargs)
        session.host.call_began()
        return self._inside(session, args, kwargs)

    def _inside(self, session: Session, args: Any, kwargs: Any) -> R:
        host = session.host
        host.unfollowed.outside = id(sys._getframe())
        self._running = True
        try:
            result = self._loop(*args, **kwargs)
            host.call_ended("finished")
        except BaseException as error:
            how = way_of(error)
            host.call_ended(how)
            self._end(how, error)
            raise
        finally:
            self._running = False
        if host.recognition.by_call:
            atexit.register(self.close)
        else:
            self._end("finished", None)
        return result

    def _end(self, how: How, error: BaseException | None) -> None:
        session, self._session = self._session, None
        atexit.unregister(self.close)
        if session is not None:
            session.close(how, error)

    def _say_why_not(self, joins: bool) -> None:
        if not joins:
            text = "another thread has a run open: this call trains without hookcore"
        elif any(value is not None for value in self._call.values()):
            text = "this call is inside a run and joins it; its own settings do not count"
        else:
            return
        warnings.warn(HookcoreWarning(f"{_name_of(self._loop)}: {text}"), stacklevel=3)


@overload
def instrument(
    loop: Callable[P, R],
    *,
    plugins: Iterable[Any] | None = None,
    only: Iterable[str] | None = None,
    disable: Iterable[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool | None = None,
    quiet: bool | None = None,
    cost: bool | None = None,
    budget: str | None = None,
    resume: bool | str | None = None,
    loops: Mapping[str, str] | None = None,
) -> Instrumented[P, R]: ...


@overload
def instrument(
    *,
    plugins: Iterable[Any] | None = None,
    only: Iterable[str] | None = None,
    disable: Iterable[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool | None = None,
    quiet: bool | None = None,
    cost: bool | None = None,
    budget: str | None = None,
    resume: bool | str | None = None,
    loops: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, R]], Instrumented[P, R]]: ...


def instrument(
    loop: Any = None,
    *,
    plugins: Iterable[Any] | None = None,
    only: Iterable[str] | None = None,
    disable: Iterable[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool | None = None,
    quiet: bool | None = None,
    cost: bool | None = None,
    budget: str | None = None,
    resume: bool | str | None = None,
    loops: Mapping[str, str] | None = None,
) -> Any:
    """Inject the life of a training into a loop that knows nothing of it.

    ``train = hookcore.instrument(train)``, or ``@hookcore.instrument`` above it, bare or with
    arguments. The functions of the loop's own files get new code in place, so every reference to
    them sees it; outside a run that code does what it did.

    Args:
        loop: A function, a bound method, a decorated function or a ``functools.partial``; or an
            object that an installed adapter knows.
        plugins: Names to add, or instances and classes, which replace the installed one of their
            name.
        only: The only plugins to load.
        disable: Names of plugins to leave out.
        options: Options by plugin and name, ``{"earlystop": {"patience": 3}}``.
        strict: Raise a plugin's exception instead of switching it off.
        quiet: Only warnings.
        cost: End the run with a table of what each plugin cost.
        budget: Call an observer less often that takes more of the time than this, ``"1%"``.
        resume: Continue from the last checkpoint: True, ``"must"`` or ``"weights"``.
        loops: What a loop is, by its place: ``{"train.py:31": "epoch"}``. A role is ``epoch``,
            ``batch``, ``validation`` or ``ignore``.

    Returns:
        An object that is called as the loop was, with ``run``, ``close()`` and ``restore()``.
        Where the loop's code cannot be replaced, a warning says why, and it is observed: its
        optimizers' steps are events, its loops are not.

    Raises:
        NotRewritable: It is a generator, a coroutine, a lambda, a class, or torch's own; says why,
            and what works instead.
        UsageError: It is no loop at all. Wrong names and options are raised by the first call.

    Cost: once, the time to compile the loop's files; a call opens a run.
    """
    call = {
        "plugins": plugins, "only": only, "disable": disable, "options": options,
        "strict": strict, "quiet": quiet, "cost": cost, "budget": budget, "resume": resume,
        "loops": loops,
    }  # fmt: skip
    if loop is None:
        return functools.partial(_instrumented, call=call)
    return _instrumented(loop, call)


def _instrumented(loop: Any, call: Mapping[str, Any]) -> Any:
    if isinstance(loop, Instrumented):
        if all(value is None for value in call.values()):
            return loop
        loop = loop.__wrapped__
    if not switched_on(os.environ):
        # Not even rewritten; the first call after it was switched on does that.
        return Instrumented(loop, call) if callable(loop) else loop
    if sys.modules.get("torch") is None and not _torch_is_installed():
        raise HookcoreError(
            "instrument() rewrites loops of PyTorch, and PyTorch is not installed",
            "No module named 'torch'",
            "pip install 'hookcore[torch]'     or declare the loop yourself: "
            "with hookcore.run(): for e in hookcore.epochs(...)",
        )
    if not callable(loop) or not _is_function_like(loop):
        return _adapted(loop, call)
    made = Instrumented(loop, call)
    made.rewrite()
    return made


def _is_function_like(loop: Any) -> bool:
    return isinstance(
        loop, (types.FunctionType, types.MethodType, functools.partial, types.BuiltinFunctionType)
    ) or hasattr(loop, "__wrapped__") or not _is_trainer(loop)


def _is_trainer(loop: Any) -> bool:
    """An instance that only an adapter can know: its class defines no ``__call__``."""
    return isinstance(loop, type) or "__call__" not in dir(type(loop))


def _adapted(loop: Any, call: Mapping[str, Any]) -> Any:
    from hookcore.plugins import load

    settings = settings_of_call(call, "instrument")
    found = load(settings).manager.hook.adapt(loop=loop, settings=settings)
    if found is not None:
        return found
    raise UsageError(
        f"instrument() cannot use a {type(loop).__name__}",
        "it is no function or method, and no installed adapter knows it",
        "pass the function or method that holds the loop",
    )


def _torch_is_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def _name_of(loop: Any) -> str:
    while isinstance(loop, functools.partial):
        loop = loop.func
    return str(getattr(loop, "__name__", type(loop).__name__))


def _named(module: str, qualname: str) -> Any:
    import importlib

    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError):
        return None
    return found
