"""What the agents ask Slurm, behind one protocol with two implementations."""
