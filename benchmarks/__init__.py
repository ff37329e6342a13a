"""Measurements of every part that has to be fast; `make bench` runs them all."""

import lib  # noqa: F401 - before torch, so that threads wait as in the study's own processes
