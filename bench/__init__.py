"""Load tests that anyone can repeat: ``scripts/bench`` runs them all, one at a time by name."""
