"""The frame decoder under fire, in every check: the fuzzer's corpus, and mutations of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.frames import data_of, frames_of, one_input

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus" / "frames").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_is_read_or_refused(path: Path) -> None:
    one_input(path.read_bytes())


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS) < 2**16


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A few runs of bytes of an input replaced, taken out or doubled, or two inputs crossed."""
    data = draw(st.sampled_from(CORPUS)).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        other = draw(st.sampled_from(CORPUS)).read_bytes()
        put = draw(st.sampled_from([b"", data[at:end] * 2, other[at:]]) | st.binary(max_size=12))
        data = data[:at] + put + data[end:]
    return data


@settings(max_examples=400, deadline=None)
@given(mutations() | st.binary(max_size=200))
def test_mutations_of_the_corpus_raise_typed_errors_only(data: bytes) -> None:
    one_input(data)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_an_input_is_frames_and_back(frames: list[bytes]) -> None:
    assert frames_of(data_of(frames))[: len(frames)] == frames
