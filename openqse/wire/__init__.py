"""What ranks, node agents and QPU agents say to each other, and how it is framed.

``docs/protocol.md`` describes it for whoever implements it elsewhere. ``messages`` has the kinds
and the header, ``frames`` the framing; ``leases``, ``tasks``, ``reports`` and ``control`` have a
dataclass for each message, which ``schema`` reads and writes by its types (``bounds``).
"""
