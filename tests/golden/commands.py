"""Commands whose documents are kept, and how a document is freed of what differs between two runs of one command."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tomllib
from pathlib import Path
from typing import Any

from boundprobe.cli.main import main
from boundprobe.tasks import TASKS

#: A training run of a few seconds: two learning rates, two reported members.
COPYING = "selective-copying -p n_numbers=2 -p n_letters=2 -p seq_len=8"
RECALL = "mkar -p vocab_size=4 -p key_length=1 -p seq_len=12"
SMALL = (
    f"--task {COPYING} --model mamba-attn --d-model 8 --window 4 "
    "--d-state 2 --steps 60 --batch 8 --lr 0.003,0.01 --seeds 2 --eval-sequences 50"
)
SAMPLES = "-n 400 --calibration 200 --train 400 --decoders linear"

OWN_TASK = '''
import itertools


class Parity:
    """Which of n bits are set: one query for each bit, and one for their parity."""

    def __init__(self, n=3):
        self.n = n

    def prefixes(self):
        return itertools.product((0, 1), repeat=self.n)

    def queries(self):
        return [(2 + i,) for i in range(self.n + 1)]

    def answer(self, prefix, query):
        i = query[0] - 2
        return sum(prefix) % 2 if i == self.n else prefix[i]
'''

SWEEP = """
seed = 3

[task]
name = "selective-copying"
n_numbers = 2
n_letters = 2
seq_len = 8

[model]
d_model = 8
window = 4
d_state = 2

[train]
steps = 40
batch = 8
learning_rates = [0.003, 0.01]
n_calibration_seeds = 1
n_seeds = 2
n_eval = 50

[grid]
"model.architecture" = ["attn-attn", "mamba-attn"]
"""

#: A hybrid of transformers: recurrent and convolution states, and a cache with grouped queries.
HYBRID = {
    "model_type": "qwen3_next", "dtype": "bfloat16", "hidden_size": 2048, "num_hidden_layers": 8,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
}  # fmt: skip

#: Name of a document to the command that prints it.  Exact: every number is a number of theory.
EXACT = {
    **{f"bounds-{task}": f"bounds --task {task} --error 0.1 --curves 5" for task in sorted(TASKS)},
    "bounds-paper": "bounds --task selective-copying --preset paper --error 0.3333333333 --statements",
    "bounds-model": "bounds --task ar-decoding --model mamba-attn --d-model 12 --window 8 --error 0.05",
    "bounds-verdict": "bounds --task copying -p vocab_size=8 -p n_tokens=9 --model gru --d-model 1 --expand 1",
    "bounds-own-task": "bounds --task own_task.py:Parity --error 0.1 --curves 3 --statements",
    "bounds-list": "bounds --list",
    "construct-copying": "construct --task selective-copying -p n_numbers=3 -p n_letters=3 -p seq_len=12 --inputs 200",
    "construct-recall": "construct --task ar-decoding -p word_bits=2 -p seq_len=12 --inputs 200 --layers 3",
    "sample-state-hard": "sample --task ar-decoding -p word_bits=3 -p seq_len=22 --distribution state-hard -n 2",
    "size-hf": "size --hf hybrid.json --tokens 100",
    "size-model": "size --model mamba-attn|gla-mamba+chunks --window 4 --tokens 100",
    "sample-mixture": "sample --task mqar --distribution mixture -n 3 --seed 5",
}
#: These measure what was trained: the last digits are those of one machine.
MEASURED = {
    "train": f"train {SMALL} --out runs",
    "probe": f"probe RUN {SAMPLES}",
    "probe-stream": f"probe RUN-RECALL {SAMPLES} --stream replacement",
    "probe-budgets": f"probe RUN {SAMPLES} --member 1 --budgets 1x2,1x4 --bottleneck-steps 20",
    "probe-states": "probe --states states.npz --n-values 4 --decoders linear",
    "plot": f"plot RUN {SAMPLES} --out figures",
    "sweep": "sweep sweep.toml --out runs --workers 1 --table seeds.csv",
    "probe-sweep": f"probe SWEEP {SAMPLES}",
    "plot-sweep": "plot SWEEP --out figures",
    "demo": "demo --steps 20 --seeds 1 --sequences 200 --out demo --workers 1",
    "doctor": "doctor",
}
#: Values that differ between two runs of one command, machines or revisions; that they are there is kept.
VARYING = {
    "argv", "cpu_capability", "device", "devices", "files_sha256", "finished", "git_revision", "inputs_per_second",
    "install", "operations", "platform", "python", "run_dir", "figures", "seconds", "started", "tokens_per_second",
    "version", "versions",
}  # fmt: skip


def freed(value: Any, key: str = "") -> Any:
    """The document with what varies replaced by the name of its type."""
    if key == "version":
        return "<version>"  # of a package that may be missing
    if key in VARYING and value is not None:
        return f"<{type(value).__name__}>"
    if isinstance(value, dict):
        return {name: freed(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [freed(entry) for entry in value]
    return value


def run_command(command: str, places: dict[str, str]) -> dict[str, Any]:
    """Exit code and document of one command in the current directory."""
    words = [places.get(word, word) for word in command.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words, "--json"])
    document = json.loads(out.getvalue()) if out.getvalue() else err.getvalue()
    return {"command": command, "exit_code": code, "document": freed(document)}


def prepare() -> None:
    """Write the files that the commands read into the current directory."""
    import numpy as np

    Path("own_task.py").write_text(OWN_TASK, encoding="utf-8")
    Path("sweep.toml").write_text(SWEEP, encoding="utf-8")
    Path("hybrid.json").write_text(json.dumps(HYBRID), encoding="utf-8")
    rng = np.random.default_rng(0)
    answers = rng.integers(4, size=(600, 3))
    np.savez("states.npz", state=np.eye(4)[answers[:, :2]].reshape(600, -1), answers=answers)


def exact_documents(directory: Path) -> dict[str, Any]:
    """Documents of theory, made in a directory of their own."""
    with contextlib.chdir(directory):
        prepare()
        return {name: run_command(command, {}) for name, command in EXACT.items()}


def measured_documents(directory: Path) -> dict[str, Any]:
    """Documents of trained models, and the files that their runs keep."""
    places = {"RUN-RECALL": "", "RUN": "", "SWEEP": ""}
    documents = {}
    with contextlib.chdir(directory):
        prepare()
        run_command(f"train {SMALL.replace(COPYING, RECALL)} --out recall", {})
        places["RUN-RECALL"] = str(next(Path("recall").glob("train-*")))
        for name, command in MEASURED.items():
            documents[name] = run_command(command, places)
            if name == "train":
                places["RUN"] = str(next(Path("runs").glob("train-*")))
            if name == "sweep":
                places["SWEEP"] = str(next(Path("runs").glob("sweep-*")))
        for path in sorted((*Path("runs").rglob("*"), Path("seeds.csv"))):
            if path.suffix in (".json", ".csv", ".toml") and path.is_file():
                documents[f"file {path}".replace(os.sep, " ")] = freed(read(path))
    return documents


def read(path: Path) -> Any:
    """A file of a run as plain data."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".toml":
        return tomllib.loads(text)
    return [row for row in csv.reader(io.StringIO(text))]
