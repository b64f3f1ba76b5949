"""How much a program may ask of the reader; every limit is a typed error that names it."""

from __future__ import annotations

#: Characters of source text, of included files too.
MAX_SOURCE = 8 * 2**20
#: Operations of the circuit after loops and gates are expanded.
MAX_OPERATIONS = 2_000_000
#: Steps of the expansion: gate calls, passes of loops and operands, whatever they yield.
MAX_EXPANSION = 16_000_000
#: Qubits, and classical bits, that the circuit form can number.
MAX_REGISTER = 2**24
#: Elements of one array of classical values.
MAX_ARRAY = 2**20
#: Blocks, parentheses and calls within each other. It does not depend on Python's own stack.
MAX_NESTING = 256
#: Texts of gates, and of operands, that are remembered at a time.
MAX_FLAT = 65536
#: Files that are included within each other.
MAX_INCLUDES = 64
