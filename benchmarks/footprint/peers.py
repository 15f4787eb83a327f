"""The other parties of the footprint benchmark: processes that wait for a job as AIDE and Optuna wait for one.

`python peers.py optuna SECONDS` is a study whose only trial starts a training in a process of its own. AIDE's command
line runs as its package ships it; `Stub` answers it as the OpenAI API would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOME = Path(tempfile.gettempdir()) / "rea-footprint-peers"
PEERS: tuple[tuple[str, ...], ...] = (
    ("--no-deps", "aideml==0.2.2"),
    (
        "anthropic==0.75.0",
        "backoff==2.2.1",
        "black==24.3.0",
        "coolname==2.2.0",
        "dataclasses_json==0.6.7",
        "funcy==2.0",
        "genson==1.3.0",
        "humanize==4.8.0",
        "igraph==0.11.8",
        "jsonschema==4.19.2",
        "loguru==0.7.2",
        "numpy==1.26.2",
        "omegaconf==2.3.0",
        "openai==1.109.1",
        "optuna==5.0.0",
        "pandas==2.1.4",
        "requests==2.32.5",
        "rich==13.7.0",
        "scikit-learn==1.5.0",
        "scipy==1.11.4",
        "shutup==0.2.0",
        "tqdm==4.66.3",
    ),
)


def make_peers(folder: Path) -> Path:
    """The peers' Python, made where it is missing or of other versions."""
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    wanted = json.dumps(PEERS)
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"making {folder} for AIDE and Optuna: some minutes", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, stdout=sys.stderr)
        for packages in PEERS:
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-conflicts"]
            subprocess.run([*pip, *packages], check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return python


class Stub:
    """The chat completions of the OpenAI API on loopback.

    `program` is asked for Python by the text of a request, `review` for the arguments of the function that AIDE has
    its model call about what a program printed.
    """

    def __init__(self, program: Callable[[str], str], review: Callable[[str], dict[str, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = "\n".join(str(message["content"]) for message in asked["messages"])
                if asked.get("tools"):
                    call = {"name": asked["tools"][0]["function"]["name"], "arguments": json.dumps(review(text))}
                    calls = [{"id": "call", "type": "function", "function": call}]
                    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": calls}
                else:
                    code = f"A model that is trained.\n\n```python\n{program(text)}\n```\n"
                    message = {"role": "assistant", "content": code}
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


def sleeping(seconds: float) -> str:
    return f"import time\ntime.sleep({seconds})\nprint('validation metric: 0.5')"


def content(_: str) -> dict[str, Any]:
    return {"is_bug": False, "summary": "It slept.", "metric": 0.5, "lower_is_better": True}


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
