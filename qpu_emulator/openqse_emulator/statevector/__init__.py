"""State vectors: a plan of flat arrays, numba kernels over it, sampling and expectations."""
