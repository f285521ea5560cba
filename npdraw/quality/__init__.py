"""How closely samples resemble images: features of both, and distances between these."""
