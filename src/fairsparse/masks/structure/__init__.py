"""What goes together: channels, heads, paths through a network."""
