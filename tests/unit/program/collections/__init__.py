"""Programs that others publish, as their exporters write them, beside Qiskit Aer."""
