"""What JEPAs are compared with."""
