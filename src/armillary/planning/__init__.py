"""Planning: minimising an energy over actions, and acting on the result."""
