"""The commands that the documents tell a reader to type."""

import re
import shlex


def commands_of(path):
    """List the lines of a document's bash blocks, in order, without comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.M | re.S)
    lines = [shlex.join(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def programs_of(path):
    """List a document's Python blocks."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S)
