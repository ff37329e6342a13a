"""A local page where one drops a photograph and turns the face: `python -m lib.fitting.demo`, or `make demo`.

It listens on this machine alone. A photograph is deleted as soon as it is read; nothing is kept.
"""

import argparse
import sys
import tempfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from lib.core.errors import StudyError, command
from lib.fitting.reconstructor import load_reconstructor
from lib.photos.align import iterate_face_crops
from lib.photos.files import Photograph
from lib.viewer import TEMPLATES, face_viewer

LOOPBACK, PORT = "127.0.0.1", 8000
LARGEST_UPLOAD = 50_000_000  # bytes
PATIENCE = 30  # seconds that a connection may be silent


def page_of_face(reconstructor, content):
    """Make the page that shows the face of a photograph, given as the bytes of its file; StudyError where none is."""
    with tempfile.TemporaryDirectory() as folder:
        photograph = Photograph(folder, "photograph", "photograph")
        photograph.path.write_bytes(content)
        ((records, pictures),) = iterate_face_crops([photograph], reconstructor.framings, 1, 0)
    if records[0]["reason"]:
        raise StudyError(records[0]["reason"])
    face = reconstructor.face_of_person(records, pictures)
    fits, names = face.fits, ["neutral", "as photographed"]
    vertices = [face.vertices, *(fit.vertices for fit in fits)]
    beside = [pictures["portrait"][0], *(fit.overlay for fit in fits)]
    colours, triangles = [face.albedo] * len(vertices), reconstructor.face_model.triangles
    view = face_viewer(names[: len(vertices)], vertices, colours, triangles, face.views[1], photographs=beside)
    return f'<!doctype html><meta charset="utf-8">{view}'


class Handler(BaseHTTPRequestHandler):
    """Answers one request; `DemoServer` has the networks."""

    timeout = PATIENCE

    def do_GET(self):
        """Give the page."""
        page = TEMPLATES.get_template("demo.html").render()
        self._answer(*((200, page, "text/html") if self.path == "/" else (404, "there is one page: /")))

    def do_POST(self):
        """Give the face of the photograph that was sent."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/face" or not length.isdecimal():
            return self._answer(400, "send a photograph to /face, with its length")
        if int(length) > LARGEST_UPLOAD:
            return self._answer(413, f"the file is larger than {LARGEST_UPLOAD // 1_000_000} MB")
        content = self.rfile.read(int(length))
        try:
            with self.server.lock:
                page = page_of_face(self.server.reconstructor, content)
        except StudyError as error:
            return self._answer(422, str(error))
        return self._answer(200, page, "text/html")

    def _answer(self, code, text, kind="text/plain"):
        content = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class DemoServer(ThreadingHTTPServer):
    """Listens on this machine alone; one face is made at a time."""

    daemon_threads = True

    def __init__(self, reconstructor, port=PORT):
        super().__init__((LOOPBACK, port), Handler)
        self.reconstructor, self.lock = reconstructor, Lock()


@command(OSError)
def main(arguments=None):
    """Serve the page until it is interrupted; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib.fitting.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--regressor", metavar="FILE", help="a trained regressor (default: as lib.reconstruct)")
    chosen = parser.parse_args(arguments)
    server = DemoServer(load_reconstructor(chosen.regressor), chosen.port)
    print(f"open http://{LOOPBACK}:{server.server_port} (Ctrl+C ends it)", flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
