"""How sure a number is: intervals, tests, and their adjustment."""
