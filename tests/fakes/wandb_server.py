"""A server that takes runs as Weights & Biases does: GraphQL and file streams, of which it keeps rows, the summary and
the end.
"""

import gzip
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RUNS_ARE_IN = {"id": "P", "name": "loralab", "entity": {"id": "E", "name": "us"}}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_PUT(self):
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        content = gzip.decompress(content) if self.headers.get("content-encoding") == "gzip" else content
        body = {} if self.command == "PUT" else json.loads(content)
        if "query" in body:
            asked = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])[1]
            answer = {"data": self._of(asked, body.get("variables", {}))}
        else:
            answer = {}
            if self.path.endswith("file_stream"):
                self._keep(self.server.runs[self.path.split("/")[-2]], body)
        reply = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_POST = do_PUT

    def _keep(self, run, body):
        for name, part in (body.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                run["rows"][part["offset"] :] = map(json.loads, part["content"])
            elif name == "wandb-summary.json":
                run["summary"] = json.loads(part["content"][-1])
        if body.get("complete"):
            run["ended"] = body["exitcode"]

    def _of(self, asked, given):
        if asked == "Viewer":
            return {"viewer": {"id": "u", "entity": "us", "username": "u", "flags": "{}", "teams": {"edges": []}}}
        if asked == "CreateRunFiles":
            base = f"http://127.0.0.1:{self.server.server_port}"
            files = [{"name": name, "uploadUrl": f"{base}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "R", "uploadHeaders": [], "files": files}}
        name = given.get("name")
        run, about = self.server.runs.get(name), {"id": f"id-{name}", "name": name, "displayName": name, "config": "{}"}
        if asked == "RunResumeStatus":
            lines = {"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "tags": [], "wandbConfig": '{"t": 1}'}
            if run:
                tail = json.dumps([json.dumps(row) for row in run["rows"][-1:]])
                lines |= {"historyLineCount": len(run["rows"]), "historyTail": tail}
                lines |= {"summaryMetrics": json.dumps(run["summary"])}
            return {"model": RUNS_ARE_IN | {"bucket": run and about | lines}}
        if asked == "UpsertBucket":
            self.server.runs.setdefault(name, {"rows": [], "summary": {}, "ended": None})
            return {"upsertBucket": {"bucket": about | {"project": RUNS_ARE_IN}, "inserted": run is None}}
        return {}


@contextmanager
def wandb_server():
    """Yields the address of a server, and its runs by id."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.runs, server.daemon_threads, server.block_on_close = {}, True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", server.runs
        server.shutdown()
