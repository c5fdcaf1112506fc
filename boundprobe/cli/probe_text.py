"""``boundprobe probe --hf --text FILE``: how well past tokens of a text are read back, as an estimate."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boundprobe.checks import refuse
from boundprobe.cli.output import find_device, print_json, print_table, say
from boundprobe.runs.given import read_given

if TYPE_CHECKING:
    from boundprobe.hf.source import Source
    from boundprobe.probes.settings import ProbeConfig
    from boundprobe.probes.text import TextReport

#: Bytes of a text, at most.
MOST_TEXT = 2**28
SCHEMA = "boundprobe.probe-text/1"


def run_text(args: argparse.Namespace, table: Mapping[str, Any], settings: ProbeConfig, source: Source) -> int:
    """Read the text, estimate, and print; nothing is kept, as nothing is certified."""
    from boundprobe.hf.loading import load
    from boundprobe.hf.readers import load_tokenizer
    from boundprobe.hf.source import ForeignModel
    from boundprobe.hf.vocabulary import start_ids
    from boundprobe.probes.text import read_back_text

    path = Path(table["text"])
    data = read_given("the text of --text", path, MOST_TEXT)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse("--text", "a file of UTF-8", f"{path} ({error.reason} at byte {error.start})")
    if (tokenizer := load_tokenizer(source.path)) is None:
        refuse("--hf", "a model with its tokenizer, for --text", f"{source.name}, which has none")
    tokens = np.array(tokenizer.encode(text, add_special_tokens=False), np.int64)
    device = find_device(args.device)
    model = load(source.path, dtype=table.get("dtype"), device=device)
    if len(tokens) and tokens.max() >= model.vocab_size:
        refuse("--hf", "a model of as many token ids as its tokenizer", f"{model.vocab_size}, and id {tokens.max()}")
    before = tuple(start_ids(tokenizer))
    passage = table.get("passage", 64)
    report = read_back_text(model, tokens, passage, settings, before=before, device=device)
    named = ForeignModel(source.family, source.name, source.sha256, model.dtype)
    if args.json:
        about = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "n_tokens": len(tokens)}
        return print_json({"schema": SCHEMA, "model": named.to_dict(), "text": about} | report.to_json())
    print_text(report, f"{path.name} ({len(tokens)} tokens), {named.family}, {named.name}")
    return 0


def print_text(report: TextReport, title: str) -> None:
    """Print a row for each distance, and why no number is a certificate."""
    from boundprobe.probes.text import WHY

    counts = ", ".join(f"{n} {name}" for name, n in report.n_sequences.items())
    say(f"{title}: state of {report.nominal_bits} bits after {report.passage_len} tokens; passages: {counts}\n")
    print_table(
        ["tokens back", "estimate", "+-", "of", "another's state", "right", "most common"],
        [
            [
                str(found.distance),
                f"{found.estimate_bits:.3f}",
                f"{found.standard_error:.3f}",
                f"{found.entropy_bits:.3f} bits",
                f"{found.control_bits:.3f}",
                f"{found.right:.3f}",
                f"{found.most_common:.3f}",
            ]
            for found in report.by_distance
        ],
    )
    say(f"\nEach token is one of {report.n_classes} classes: the most common tokens, and all others.")
    say(f"{WHY[0].upper()}{WHY[1:]}.")
