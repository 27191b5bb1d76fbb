"""Fair training and pruning, one after the other."""
