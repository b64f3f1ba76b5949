"""What jobs send to the QPU: taken in, put in order, run, and answered."""
