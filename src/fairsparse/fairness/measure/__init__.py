"""From outcomes to numbers: counts, metrics, what pruning cost."""
