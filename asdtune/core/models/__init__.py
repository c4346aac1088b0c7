"""What a network is: its layers and its checkpoints."""
