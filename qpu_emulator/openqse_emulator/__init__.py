"""An emulated QPU: exact state vectors and the QPU time that hardware would have taken."""
