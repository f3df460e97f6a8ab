"""Pure functions of tensors: no modules, no configuration, no state."""
