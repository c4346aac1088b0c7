"""How a network learns, and how it is judged."""
