"""Why a network changed: heat maps, how alike they are, the loss between two networks."""
