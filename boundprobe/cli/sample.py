"""``boundprobe sample``: draw sequences from a distribution, to look at or to train on elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundprobe.cli.options import (
    SEED_OPTION,
    TASK_OPTIONS,
    Option,
    add_options,
    one_of,
    resolve,
    whole_number,
    word,
)
from boundprobe.cli.output import note, print_config, print_json, task_from

if TYPE_CHECKING:
    import numpy as np

    from boundprobe.tasks import AbstractTask

HELP = "draw sequences of a task from uniform, state-hard, window-hard, mixture or another of its distributions"

OPTIONS = (
    *TASK_OPTIONS,
    SEED_OPTION,
    Option("-n", ("n",), whole_number(1), "number of sequences (default 5)", "N"),
    Option("--distribution", ("distribution",), word, "which distribution (default uniform)", "NAME"),
    Option("--format", ("format",), one_of("npz", "jsonl", "parquet"), "npz (default), jsonl or parquet", "NAME"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=True)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here; without it, print to stdout")


def run(args: argparse.Namespace) -> int:
    """Draw, then write or print; numpy only."""
    config = resolve(OPTIONS, args)
    task = task_from(config)
    settings: dict[str, Any] = {"n": 5, "distribution": "uniform", "format": "npz", "seed": 0} | {
        key: value for key, value in config.items() if key != "task"
    }
    # Refused before anything is drawn or written.
    from boundprobe.tasks.base import check_distribution

    check_distribution(settings["distribution"], task.distributions)
    one_of("npz", "jsonl", "parquet")(settings["format"])
    if args.print_config:
        return print_config(settings | {"task": {"name": task.name, **task.parameters()}})
    if args.out and not args.out.parent.is_dir():
        raise ValueError(f"--out is {args.out}, in no directory; allowed: a file in an existing directory; make it")
    arrays = draw(task, settings["n"], settings["distribution"], settings["seed"])
    document: dict[str, Any] = {
        "schema": "boundprobe.sample/1",
        "task": {"name": task.name, "parameters": task.parameters()},
        "distribution": settings["distribution"],
        "n": settings["n"],
        "seed": settings["seed"],
        "vocab_size": task.vocab_size,
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
    }
    if args.out:
        from boundprobe.runs.files import write_whole

        write_whole(args.out, lambda path: _WRITERS[settings["format"]](path, arrays))
        document |= {"out": str(args.out), "format": settings["format"]}
        note(
            f"wrote {args.out}: {', '.join(f'{k} {v}' for k, v in document['shapes'].items())}",
            quiet=args.quiet,
        )
        return print_json(document) if args.json else 0
    if args.json:
        return print_json(document | {"arrays": {name: array.tolist() for name, array in arrays.items()}})
    width = len(str(task.vocab_size))
    for tokens, targets in zip(arrays["tokens"], arrays["targets"], strict=True):
        print("tokens ", " ".join(f"{token:>{width}}" for token in tokens))
        print("targets", " ".join(f"{target:>{width}}" if target >= 0 else "." * width for target in targets))
    return 0


def draw(task: AbstractTask, n: int, distribution: str, seed: int) -> dict[str, np.ndarray]:
    """Arrays ``tokens`` and ``targets``; for state-hard ``prefix``, ``queries`` and ``answers`` as well."""
    import numpy as np

    from boundprobe.seeds import generator

    rng = generator(seed, "sample")
    if distribution != "state-hard":
        batch = task.sample(n, rng, distribution)
        return {"tokens": batch.tokens, "targets": batch.targets}
    cut = task.sample_cut(n, rng)
    asked = rng.integers(len(cut.queries), size=n)
    tokens = np.concatenate([cut.prefix, cut.queries[asked]], axis=1)
    return {
        "tokens": tokens,
        "targets": task.answers(tokens),
        "prefix": cut.prefix,
        "queries": cut.queries,
        "answers": cut.answers,
    }


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import numpy as np

    with path.open("wb") as file:  # an open file, because savez adds .npz to names
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _rows(arrays: dict[str, np.ndarray]) -> list[dict[str, list[int]]]:
    """One row a sequence; the query set, the same for every sequence, is repeated in each."""
    n = len(arrays["tokens"])
    return [
        {name: (array if name == "queries" else array[i]).tolist() for name, array in arrays.items()} for i in range(n)
    ]


def _write_jsonl(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import json

    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in _rows(arrays))


def _write_parquet(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from boundprobe.errors import MissingDependencyError

    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            "--format parquet needs pyarrow, which is not installed; allowed here: npz, jsonl; "
            "pip install 'boundprobe[analysis]'"
        ) from None
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_rows(arrays)), path)


_WRITERS = {"npz": _write_npz, "jsonl": _write_jsonl, "parquet": _write_parquet}
