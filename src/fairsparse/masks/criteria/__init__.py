"""What a weight, or a filter, is worth."""
