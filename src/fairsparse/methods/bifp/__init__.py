"""BiFP: masks and weights learned in turn."""
