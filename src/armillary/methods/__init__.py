"""One file per method, grouped by what it learns from. Method files never import each other."""
