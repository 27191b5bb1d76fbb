"""What pulls training: penalties, spreads, limits, and corrections afterwards."""
