"""The emulator beside its peers: the same circuits on the same machine, in turn."""
