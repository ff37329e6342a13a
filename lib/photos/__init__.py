"""From a photograph of any source to identity features, once (paper 3.3, 4).

Start at `embed.py`: read, detect, align (`align.py`: the same crop that renders are drawn in), embed, store. Imports
nothing here: who reads stored features (`store.py`) needs no face detector.
"""
