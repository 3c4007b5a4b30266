"""What the methods cost, as ratios to a plain forward pass."""
