"""How a network learns: from windows to checkpoints."""
