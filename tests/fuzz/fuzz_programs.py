"""Feeds the OpenQASM reader by coverage; options and folders of inputs as libFuzzer takes them."""

import sys

import atheris

with atheris.instrument_imports(include=["openqse", "programs"]):
    from programs import one_input

    from openqse.program.openqasm import limits

# Bounds that make an input's time short.
limits.MAX_OPERATIONS = 20_000
limits.MAX_EXPANSION = 200_000
atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
