"""Identity networks behind one contract (3.1, 4.3): start at `network.py`; one module a network."""
