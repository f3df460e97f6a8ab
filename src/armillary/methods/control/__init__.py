"""World models: methods that learn from trajectories with actions."""
