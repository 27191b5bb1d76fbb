"""Ballot: tickets chosen and trained where accuracy and fairness pull apart."""
