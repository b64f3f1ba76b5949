"""What a QPU agent tells those who ask."""
