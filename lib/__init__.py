"""The study's library: eleven packages, of which the README has a map."""

import atexit
import gc

# imports make a million objects, which stay: to look for garbage among them takes a second of a command's time
gc.set_threshold(50_000)
atexit.register(gc.freeze)
