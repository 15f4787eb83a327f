"""The other parties of the footprint benchmark: processes that wait for a job as AIDE and Optuna wait for one.

`python peers.py optuna SECONDS` is a study whose only trial starts a training in a process of its own. AIDE's command
line runs as its package ships it; `Stub` answers it as the OpenAI API would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stub:
    """The chat completions of the OpenAI API on loopback: every program asked for sleeps, every review is content."""

    def __init__(self, seconds: float) -> None:
        program = f"import time\ntime.sleep({seconds})\nprint('validation metric: 0.5')"
        code = f"A model that takes its time.\n\n```python\n{program}\n```\n"
        review = {"is_bug": False, "summary": "It slept.", "metric": 0.5, "lower_is_better": True}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                message: dict[str, Any] = {"role": "assistant", "content": code}
                if asked.get("tools"):
                    call = {"name": asked["tools"][0]["function"]["name"], "arguments": json.dumps(review)}
                    calls = [{"id": "call", "type": "function", "function": call}]
                    message = {"role": "assistant", "content": None, "tool_calls": calls}
                answer = {
                    "id": "stub",
                    "object": "chat.completion",
                    "created": 0,
                    "model": asked["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                }
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()


def wait_with_optuna(seconds: float) -> None:
    import optuna

    def train(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        job = f"import time; time.sleep({seconds}); print({rate})"
        done = subprocess.run([sys.executable, "-c", job], capture_output=True, text=True, check=True)
        return float(done.stdout)

    optuna.create_study().optimize(train, n_trials=1)


if __name__ == "__main__":
    assert sys.argv[1] == "optuna"
    wait_with_optuna(float(sys.argv[2]))
