"""The study's library: twelve packages, of which the README has a map."""
