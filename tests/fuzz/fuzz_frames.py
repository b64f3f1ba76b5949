"""Feeds the frame decoder by coverage; options and folders of inputs as libFuzzer takes them."""

import sys

import atheris

with atheris.instrument_imports(include=["openqse", "frames"]):
    from frames import one_input

atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
