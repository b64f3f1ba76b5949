"""What tasks are charged, and how Slurm is told."""
