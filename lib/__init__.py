"""The study's library: eleven packages, of which the README has a map."""
