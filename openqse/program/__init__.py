"""What runs: circuits as flat arrays, OpenQASM text read into them, observables."""
