"""A gate that watches nothing, or everything, and never interferes; and a runner for scripts."""

import os
import sys


class Everything:
    def __contains__(self, _):
        return True


class Gate:
    host = None

    def __init__(self, watching=False):
        self.back, self.dead, self.bound = {}, {}, {}
        self.tails, self.frames = (Everything(), Everything()) if watching else ({}, {})
        self.calls, self.seen, self.given = [], {}, {}

    def each(self, site, iterable):
        self.calls.append(("each", site))
        return iterable

    def again(self, site):
        self.calls.append(("again", site))
        return True

    def begin(self, site):
        self.calls.append(("begin", site))
        return True

    def left(self, site):
        self.calls.append(("left", site))

    def failed(self, site):
        self.calls.append(("failed", site))

    def returned(self, function, value, site=None):
        self.calls.append(("returned", function, site))
        return value

    def returning(self, site, value):
        self.calls.append(("returning", site))
        return value

    def see(self, owner, names, *values):
        self.seen.update(zip(((owner, name) for name in names), values, strict=True))

    def see_globals(self, site):
        self.calls.append(("globals", site))

    def restore(self, site):
        self.calls.append(("restore", site))
        self.back.pop(site)
        self.tails.pop(site)

    def has(self, name):
        return name in self.given

    def take(self, name):
        return self.given.pop(name)

    def taken(self, names, *values):
        return [self.given.pop(name, value) for name, value in zip(names, values, strict=True)]


def main(argv):
    from hookcore.errors import UsageError
    from hookcore.plain.loading import install

    gate = Gate(watching=True)
    try:
        if argv[0] == "-m":
            install.run_module(argv[1], argv[2:], gate)
        else:
            install.run_script(argv[0], argv[1:], gate)
    except UsageError as error:
        print(error.what, file=sys.stderr)
        return 2
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = error.__traceback__.tb_next  # this function's own frame
        install.strip_frames(error)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        if "HOOKCORE_TEST_CALLS" in os.environ:
            print("gate was called:", bool(gate.calls))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
