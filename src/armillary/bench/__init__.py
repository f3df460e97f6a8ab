"""Fair comparisons: many methods, one data set, one budget of counted FLOPs, one way of measuring."""
