"""Measures how a QPU is shared: by whom, and how busy it is."""
