"""What the forward pass of each family keeps for the backward pass, counted from its architecture. Loads no torch."""
