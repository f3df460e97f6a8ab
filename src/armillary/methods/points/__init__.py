"""Methods that learn from point clouds."""
