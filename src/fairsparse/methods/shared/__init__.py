"""What methods share: pruning steps, the refinement, terms of a loss."""
