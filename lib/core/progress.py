"""Progress of long work: a live bar in a terminal, one line every ten seconds in a log file."""

import sys

from tqdm import tqdm


def progress(iterable=None, description="", total=None, unit="it", initial=0, silent=False):
    """Wrap an iterable in a progress bar (tqdm; None: moved by `.update`); `initial` items were done before."""
    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=description,
        total=total,
        unit=unit,
        initial=initial,
        mininterval=0.2 if terminal else 10.0,
        ncols=None if terminal else 100,
        dynamic_ncols=terminal,
        disable=silent,
        file=sys.stderr if terminal else _Lines(),
    )


class _Lines:
    """A stream that turns a bar's carriage returns into line ends, so that a log file stays readable."""

    def write(self, text):
        text = text.strip("\r\n")
        if text.strip():
            sys.stderr.write(text + "\n")

    def flush(self):
        sys.stderr.flush()
