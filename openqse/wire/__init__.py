"""What ranks, node agents and QPU agents say to each other, and how it is framed."""
