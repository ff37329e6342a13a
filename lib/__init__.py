"""The study's library: one concept a module, read from top to bottom in the README's diagram."""
