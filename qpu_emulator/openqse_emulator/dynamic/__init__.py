"""Programs with classical control: the tree of what may happen is walked, one path for all shots
that share it."""
