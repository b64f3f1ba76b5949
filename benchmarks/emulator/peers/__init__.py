"""The peers: a module each, named as here, with an engine ``Peer``."""

#: Those that come first for one circuit or another.
STRONGEST = ("qsim", "scaluq", "qulacs", "aer", "lightning")
ALL = (*STRONGEST, "stim", "qibojit", "cudaq")
