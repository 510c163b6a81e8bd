"""Python as if the packages named in OPKIT_TEST_ABSENT were not installed."""

import importlib.machinery
import os

ABSENT = set(filter(None, os.environ.get("OPKIT_TEST_ABSENT", "").split(",")))
find = importlib.machinery.PathFinder.find_spec.__func__


def find_spec(cls, name, path=None, target=None):
    if name.partition(".")[0] in ABSENT:
        return None
    return find(cls, name, path, target)


importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
