"""Fair Scratch Tickets: masks over a frozen random network."""
