"""The study's library: eleven packages, of which the README has a map."""

import atexit
import gc

# imports make a million objects that stay; looking for garbage among them, meanwhile and once more at the exit, takes a
# second of a command's time
gc.set_threshold(50_000)
atexit.register(gc.freeze)
