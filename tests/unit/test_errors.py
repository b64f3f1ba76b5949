"""The tree of typed errors: as it is documented, exported and told over the wire."""

from __future__ import annotations

import pickle

import pytest

import openqse
from openqse import errors
from openqse.errors import Layer, NotAcquired, OpenQSEError


def tree(root: type[OpenQSEError], depth: int = 0) -> list[tuple[int, type[OpenQSEError]]]:
    """Every class below one and itself, with its depth, in the order of their definition."""
    children = [c for c in root.__subclasses__() if c.__module__ == errors.__name__]
    return [(depth, root), *(entry for c in children for entry in tree(c, depth + 1))]


TREE = tree(OpenQSEError)
CLASSES = [cls for _, cls in TREE]


def test_the_documented_tree_is_the_real_one() -> None:
    lines = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    assert "OpenQSEError" in lines[0]
    documented = [(0, "OpenQSEError")]
    for line in lines[1:]:
        branch = line.find("── ")
        documented.append(((branch - 1) // 4, line[branch + 3 :].split()[0]))
    assert documented == [(depth, cls.__name__) for depth, cls in TREE]


def test_every_error_is_exported() -> None:
    for cls in CLASSES:
        assert getattr(openqse, cls.__name__) is cls
        assert cls.__name__ in openqse.__all__


def test_codes_tell_the_classes_apart() -> None:
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_keeps_its_class_over_the_wire_and_in_a_pickle(cls: type[OpenQSEError]) -> None:
    error = cls("what", layer=Layer.DEVICE, remedy="Do it", number=3)
    for received in (errors.from_wire(error.to_wire()), pickle.loads(pickle.dumps(error))):
        assert type(received) is cls
        assert str(received) == "device: what. Do it"
        assert received.details == {"number": 3}


def test_what_may_succeed_later_says_so() -> None:
    assert NotAcquired("busy").retryable
    assert openqse.AgentUnavailable("down").retryable
    assert not openqse.UnsupportedInput("QIR").retryable
