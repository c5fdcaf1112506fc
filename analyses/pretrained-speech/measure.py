"""Certified bits of the last sounds in the state of a deployed voice-activity detector (silero-vad, an LSTM in ONNX).

    pip install onnxruntime && pip install --no-deps silero-vad
    python analyses/pretrained-speech/measure.py

Sequences of random sounds are read chunk by chunk; the state after the last one is an array, and ``certify_states``
says how many bits of which sound it holds.  Writes settings.csv (a line for each duration, loudness and number of other
sounds before) and retention.csv (the same by distance), whole or not at all.  Takes two minutes on one free core.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from boundprobe.probes import DecoderConfig, StatesConfig, certify_states
from boundprobe.runs import write_whole

RATE, CHUNK, CONTEXT = 16_000, 512, 64  # samples a second, a chunk of 32 ms, and what is seen of the chunk before
#: Seven tones half an octave apart, and a burst of white noise: 3 bits a sound.
PITCHES = 220.0 * 2.0 ** (np.arange(7) / 2)
N_KINDS = len(PITCHES) + 1
N_SOUNDS, N_SEQUENCES = 6, 3000
LOUDNESSES = (-60, -40, -20, -6)  # dB of a sine against full scale
#: Chunks a sound, and sounds before those that are asked for: with none the first one follows silence.
FORMS = ((1, 0), (3, 0), (6, 0), (3, 4))
BATCH = 500


@dataclass(frozen=True)
class Setting:
    """One line of settings.csv: certified bits of all sounds together, of 18."""

    chunks: int
    n_before: int
    loudness_db: int
    certified_bits: float
    estimate_bits: float
    null_control_bits: float
    decoder: str


@dataclass(frozen=True)
class Held:
    """One line of retention.csv: the sound that was the ``distance``-th from the end, of 3 bits."""

    chunks: int
    n_before: int
    loudness_db: int
    distance: int
    certified_bits: float
    estimate_bits: float


def sounds(kinds: np.ndarray, n_chunks: int, loudness_db: float, rng: np.random.Generator) -> np.ndarray:
    """Samples (N, n_sounds * n_chunks * 512) of sounds (N, n_sounds): each with a phase, or a noise, of its own."""
    n_samples = n_chunks * CHUNK
    time = np.arange(n_samples) / RATE
    phases = rng.uniform(0, 2 * np.pi, (*kinds.shape, 1))
    pitches = np.append(PITCHES, 0.0)[kinds][..., None]
    tones = np.sin(2 * np.pi * pitches * time + phases)
    noise = rng.normal(0, np.sqrt(0.5), (*kinds.shape, n_samples))  # the power of a sine
    wave = np.where(kinds[..., None] == N_KINDS - 1, noise, tones)
    # Five milliseconds of fading in and out: a click at each border would tell where sounds begin.
    ramp = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.005)
    return (10 ** (loudness_db / 20) * wave * ramp).astype(np.float32).reshape(len(kinds), -1)


def weights() -> Path:
    """Place of the detector's weights; the package's Python is not imported."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("silero-vad must be installed; got none. pip install --no-deps silero-vad")
    return Path(found.submodule_search_locations[0]) / "data" / "silero_vad_16k_op15.onnx"


def states(session: Any, samples: np.ndarray) -> np.ndarray:
    """State (N, 256) of the detector after samples (N, T): hidden and cell state of its LSTM, zero at the start."""
    read = []
    for start in range(0, len(samples), BATCH):
        piece = samples[start : start + BATCH]
        state = np.zeros((2, len(piece), 128), np.float32)
        padded = np.concatenate([np.zeros((len(piece), CONTEXT), np.float32), piece], axis=1)
        for at in range(0, piece.shape[1], CHUNK):
            chunk = padded[:, at : at + CONTEXT + CHUNK]
            _, state = session.run(None, {"input": chunk, "state": state, "sr": np.array(RATE, np.int64)})
        read.append(state.transpose(1, 0, 2).reshape(len(piece), -1))
    return np.concatenate(read)


def write(rows: Sequence[Setting] | Sequence[Held], path: Path) -> None:
    """A table, whole or not at all."""

    def fill(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([field.name for field in fields(rows[0])])
            writer.writerows([f"{v:.3f}" if isinstance(v, float) else v for v in astuple(row)] for row in rows)

    write_whole(path, fill)


def main() -> None:
    """Measure every duration and loudness."""
    import onnxruntime

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(weights(), options)
    tried = [(*form, loudness) for form in FORMS for loudness in LOUDNESSES]
    # Every number of both tables holds together with the others at 95 per cent.
    config = StatesConfig(DecoderConfig(("linear", "mlp")), confidence=1 - 0.05 / len(tried))
    settings, held = [], []
    for seed, (chunks, n_before, loudness) in enumerate(tried):
        rng = np.random.default_rng([2031, seed])
        kinds = rng.integers(N_KINDS, size=(N_SEQUENCES, n_before + N_SOUNDS))
        read = states(session, sounds(kinds, chunks, loudness, rng))
        report = certify_states(read, kinds[:, n_before:], n_values=N_KINDS, config=config)
        present = report.present
        settings.append(
            Setting(
                chunks,
                n_before,
                loudness,
                present.lower,
                present.estimate,
                report.null_control.lower,
                present.decoder or "",
            )
        )
        assert report.retention is not None  # uniform answers have it
        for group in report.retention.groups:
            held.append(Held(chunks, n_before, loudness, N_SOUNDS - group.group, group.bits.lower, group.bits.estimate))
        print(settings[-1], [round(row.certified_bits, 2) for row in held[-N_SOUNDS:]], flush=True)
    write(settings, out / "settings.csv")
    write(held, out / "retention.csv")


if __name__ == "__main__":
    main()
