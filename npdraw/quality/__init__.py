"""How much samples look like images: features of both, and distances between these."""
