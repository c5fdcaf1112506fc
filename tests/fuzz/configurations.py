"""Hostile TOML: configurations that are right but for one place or two, or for their bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import tomli_w

from tests.fuzz.hostile import change_bytes, change_document, pick, text
from tests.fuzz.lines import SMALL
from tests.fuzz.sandbox import OWN_TASKS, Sandbox

MODEL: dict[str, Any] = {"architecture": "mamba-attn", "d_model": 4, "window": 3, "d_state": 2, "mlp_ratio": 1}
TRAIN: dict[str, Any] = {
    "distribution": "mixture", "steps": 3, "batch": 2, "learning_rates": [0.003, 0.01], "n_seeds": 1, "warmup_steps": 1,
    "n_calibration_seeds": 1, "weight_decay": 0.1, "clip_norm": 1.0, "n_eval": 10, "stop_below": 0.0, "targets": "task",
    "precision": "float32", "micro_batch": 0,
}  # fmt: skip
PROBE: dict[str, Any] = {
    "n_sequences": 60, "n_calibration": 30, "n_train": 40, "confidence": 0.95, "tolerance": 0.01,
    "decoders": ["linear"],
    "part_decoders": ["linear"], "stream": "keys-once", "seed": 0,
}  # fmt: skip
GRID: dict[str, Any] = {
    "model.architecture": ["attn", "gru"], "train.weight_decay": [0.0, 0.1], "model.d_model,model.window": [[8, 4],
    [4, 2]],
    "seed": [0, 1], "task.seq_len": [8, 9],
}  # fmt: skip
#: A grid of more runs than anybody can list.
GRID_BOMB = {f"train.{key}": list(range(1, 1001)) for key in ("steps", "batch", "n_seeds", "n_eval", "warmup_steps")}


def task(rng: np.random.Generator) -> dict[str, Any]:
    """The table of a small task."""
    if rng.random() < 0.15:
        return {"name": pick(rng, OWN_TASKS)}
    name = pick(rng, list(SMALL))
    pairs = (parameter.split("=") for parameter in SMALL[name])
    return {"name": name} | {key: int(number) for key, number in pairs}


def document(rng: np.random.Generator, verb: str) -> dict[str, Any]:
    """A configuration of a verb that is right."""
    if verb == "bounds":
        model = {"model": dict(MODEL), "entry_bits": 16} if rng.random() < 0.5 else {}
        return {"error": 0.1, "curve_points": 5, "task": task(rng)} | model
    if verb == "size":
        return {"n_tokens": 9, "model": dict(MODEL)} if rng.random() < 0.5 else {"n_tokens": 9, "hf": "."}
    if verb == "sample":
        return {"seed": 1, "n": 3, "distribution": "mixture", "format": "jsonl", "task": task(rng)}
    if verb == "train":
        return {"seed": 1, "backend": "auto", "task": task(rng), "model": dict(MODEL), "train": dict(TRAIN)}
    if verb == "construct":
        of = {"name": "ar-decoding", "word_bits": 2, "seq_len": 8}
        return {"seed": 0, "n_layers": 2, "position": "learned", "window": 8, "n_inputs": 20, "task": of}
    if verb == "demo":
        return {"seed": 0, "steps": 1, "n_seeds": 1, "n_sequences": 10}
    if verb == "probe":
        states = {"file": "states.npz", "n_values": 2, "entropy_bits": 3.5, "groups": "groups"}
        extra = {"member": 0, "bottleneck": {"budgets": "1x2,2x2", "steps": 3}}
        return dict(PROBE) | (extra if rng.random() < 0.6 else {"states": states})
    if verb == "plot":
        return dict(PROBE) | {"bottleneck": {"budgets": "1x2", "steps": 3}}
    if verb == "sweep":
        keys = rng.choice(list(GRID), size=int(rng.integers(1, 4)), replace=False)
        grid = GRID_BOMB if rng.random() < 0.03 else {key: GRID[key] for key in keys}
        tables = {"task": task(rng), "model": dict(MODEL), "train": dict(TRAIN), "grid": grid, "probe": dict(PROBE)}
        return {"seed": 0, "backend": "auto"} | tables
    return {}


def configuration(rng: np.random.Generator, sandbox: Sandbox) -> list[str]:
    """Write a configuration; the command line that reads it."""
    verb = pick(
        rng, ["bounds", "size", "sample", "train", "construct", "demo", "probe", "plot", "doctor", *["sweep"] * 4]
    )
    found = document(rng, verb)
    for _ in range(int(rng.integers(3))):
        found = change_document(rng, found)
    try:
        data = tomli_w.dumps(without_none(found)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        data = tomli_w.dumps({text(rng).encode("ascii", "replace").decode(): 1}).encode()
    if rng.random() < 0.12:
        data = change_bytes(rng, data)
    elif rng.random() < 0.08:
        data += pick(rng, BOMBS)
    (sandbox.work / "own.toml").write_bytes(data)
    modes = [mode for mode in ("--json", "--print-config", "-q") if rng.random() < 0.25]
    if verb == "sweep":
        return [verb, "own.toml", *modes] if rng.random() < 0.8 else [verb, "--config", "own.toml", *modes]
    where = {"probe": [] if rng.random() < 0.5 else ["nowhere"], "plot": ["nowhere"]}.get(verb, [])
    return [verb, *where, "--config", "own.toml", *modes]


def without_none(found: Any) -> Any:
    """TOML has no null."""
    if isinstance(found, dict):
        return {str(key): without_none(inner) for key, inner in found.items() if inner is not None}
    return [without_none(inner) for inner in found if inner is not None] if isinstance(found, list) else found


BOMBS = (
    b"\na = " + b"[" * 3000 + b"]" * 3000, b"\n[" + b"a." * 3000 + b"a]\nb = 1\n", b"\nb = " + b"9" * 100_000,
    b"\nseed = 0x" + b"f" * 9000,
    b"\nc = " + b'{a = ' * 500 + b"1" + b"}" * 500, b"\nd = 9999-12-31T23:59:59Z\n", b'\n"\\u001b[2J" = 1\n',
    b"\ne = 1e999999\n",
    b"\n[task]\n[task]\n", b"\n[[task]]\nname = 'copying'\n",
    b"\n[model]\narchitecture = '" + b"attn-" * 5000 + b"attn'\n", b"\x00", b"\xff",
    b"\n[probe.x.y.z]\n", b"\nseed = 07\n", b"\nseed = 2026-01-01\n", b"\nseed = nan\n", b"\nseed = +inf\n",
    b'\nseed = """\n' + b"\n" * 3000,
)  # fmt: skip
