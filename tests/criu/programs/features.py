"""A worker with one of everything: each feature is set up before the capture and looked at when it is asked for. Standard library.

`features.py NAME...` sets up those; GET / answers with JSON: name -> true, or what is wrong with it. A feature is a generator: what
comes before its first `yield` happens before the capture, what comes after it on each request, up to the next `yield`.
"""

import http.server
import json
import sys
import traceback

import features_own  # noqa: F401 - it adds its features
import features_shared  # noqa: F401 - it adds its features
from feature import FEATURES


def states() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, generator in RUNNING.items():
        try:
            found[name] = next(generator) or True
        except StopIteration:
            found[name] = "it has failed before"
        except BaseException:
            found[name] = traceback.format_exc().strip().splitlines()[-1]
    return found


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(states()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    RUNNING = {name: FEATURES[name]() for name in sys.argv[1:] or FEATURES}
    for generator in RUNNING.values():
        next(generator)
    http.server.HTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
