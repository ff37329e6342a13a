"""Identity networks behind one contract: images in, pooled features and an embedding out (paper 3.1, 4.3).

Start at `network.py`; each architecture has a module, and `sources.py` says where its weights come from.
"""
