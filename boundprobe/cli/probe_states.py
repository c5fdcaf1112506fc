"""``boundprobe probe --states FILE.npz``: certified bits in arrays of states from any source."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boundprobe.cli.ladder import null_words, print_assumptions, print_retention
from boundprobe.cli.output import print_pairs, say
from boundprobe.probes.settings import DecoderConfig, StatesConfig
from boundprobe.runs.collect import FORMATS, check_table

if TYPE_CHECKING:
    from boundprobe.probes.states_report import MeasuredStates, StatesReport

ARRAYS = ("state", "answers")


def read_arrays(path: Path, groups: str = "groups") -> dict[str, np.ndarray]:
    """The arrays of a file: ``state``, ``answers`` and perhaps ``defined`` and ``groups``.

    Parameters
    ----------
    path : Path
    groups : str
        Name of the array that numbers the groups.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    must = (
        "`--states` must be an .npz, as numpy.savez writes it, with the arrays state (N x d), answers (N x n) and, if "
        "need be, defined (N x n) and groups (N)"
    )
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise ValueError(f"{must}; got {path}, which is {'no .npz file' if path.is_file() else 'not there'}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*ARRAYS, "defined") if name in file.files}
            if groups in file.files:
                arrays["groups"] = file[groups]
            found = file.files
    except MemoryError:  # which is no damage
        raise
    except Exception as error:  # numpy's and zipfile's readers raise whatever they meet
        # numpy's own advice about objects, to load them unsafely, is none that is followed here.
        reason = "it holds Python objects" if "allow_pickle" in str(error) else " ".join(str(error).split())
        raise ValueError(f"{must}; got {path}, which cannot be read ({reason})") from None
    wanted = ARRAYS if groups == "groups" else (*ARRAYS, groups)
    for name in wanted:
        if name not in found:
            raise ValueError(f"{must}; got {path} without {name!r}, with {', '.join(found) or 'no array'}")
    return arrays


def read_column(spec: str) -> np.ndarray:
    """Groups from a column of a table, ``TABLE.csv:COLUMN`` or ``TABLE.parquet:COLUMN``, as texts (N,).

    Raises
    ------
    ValueError
        If there is no such table or column.
    """
    name, _, column = spec.rpartition(":")
    path = Path(name)
    must = "`--groups` must be the name of an array of the .npz, or TABLE.csv:COLUMN, or TABLE.parquet:COLUMN"
    if path.suffix not in FORMATS:
        raise ValueError(f"{must}; got {spec}")
    if not path.is_file():
        raise ValueError(f"{must}; got {path}, which is not there")
    try:
        columns, values = _read_table(path, column)
    except (ValueError, OSError, csv.Error, RuntimeError) as error:
        raise ValueError(f"{must}; got {path}, which cannot be read ({' '.join(str(error).split())})") from None
    if column not in columns:
        raise ValueError(f"{must}; got column {column!r} of {path}, which has {', '.join(columns) or 'none'}")
    if any(value is None for value in values):
        raise ValueError(f"{must}; got a row of {path} without a {column}")
    return np.array([str(value) for value in values])


def _read_table(path: Path, column: str) -> tuple[Sequence[str], list[Any]]:
    """Names of the columns of a table, and the values of one of them; no values if it is not there."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            values = [row.get(column) for row in rows]
            return rows.fieldnames or (), values
    check_table(path)
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return table.column_names, table[column].to_pylist() if table.column_names.count(column) == 1 else []


def states_config(given: Mapping[str, Any]) -> StatesConfig:
    """Settings of the measurement: the given seed, decoders and confidence, else the defaults."""
    names, seed = given.get("decoders", DecoderConfig().names), given.get("seed", 0)
    confidence = {"confidence": given["confidence"]} if "confidence" in given else {}
    return StatesConfig(DecoderConfig(names, seed=seed), seed=seed, **confidence)


def probe_states(states: Mapping[str, Any], config: StatesConfig, root: Path, device: str) -> MeasuredStates:
    """Certify a file once, keep the result in a run directory, and read it back from then on.

    Parameters
    ----------
    states : mapping
        ``file``, ``n_values`` or ``entropy_bits`` or both, and perhaps ``groups``: the name of an array of the file
        (default "groups", if it is there), or a column of a table.
    config : StatesConfig
    root : Path
        Where the run directory is made, once the file was read and its prior checked.
    device : str
    """
    from boundprobe.probes.states_input import read_states
    from boundprobe.probes.states_report import MeasuredStates, certify_read, read_measured
    from boundprobe.runs.files import check_output_directory
    from boundprobe.runs.store import find_run, open_run

    path, prior = Path(states["file"]), {name: states.get(name) for name in ("n_values", "entropy_bits")}
    named = states.get("groups", "groups")
    if not isinstance(named, str):
        raise ValueError(f"`states.groups` must be the name of an array or a column of a table; got {named!r}")
    arrays = read_arrays(path, "groups" if ":" in named else named)
    if ":" in named:
        arrays["groups"] = read_column(named)
    given = read_states(
        arrays["state"],
        arrays["answers"],
        defined=arrays.get("defined"),
        groups=arrays.get("groups"),
        n_values=states.get("n_values"),
        entropy_bits=states.get("entropy_bits"),
        config=config,
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    identity = {"sha256": digest} | prior
    if named != "groups":
        identity["groups"] = hashlib.sha256("\n".join(map(str, arrays["groups"])).encode()).hexdigest()
    settings = {"states": identity, "probe": asdict(config)}
    found = find_run(root, "probe", settings)
    if found is not None and (known := read_measured(found, given)) is not None:
        return known
    check_output_directory("--out", root)
    report = certify_read(given, config, device=device)  # which may refuse the premises, so nothing is made before
    run = open_run(root, "probe", settings)
    with run.session(device=device, seeds={"seed": config.seed, "roles": "split, order"}):
        run.finish(MeasuredStates(run.run_id, run.path, path.name, digest, report).to_json())
    known = read_measured(run, given)
    assert known is not None  # just written
    return known


def _entropies(report: StatesReport) -> list[tuple[str, str, str]]:
    """The entropy that the prior states and, where answers may be absent, that of the answers which are defined."""
    stated, defined = report.prior.entropy_bits, report.defined_entropy_bits
    if defined is None:
        return [("entropy of the answers", f"{stated:.2f} bits", "the stated prior")]
    return [
        (
            "entropy of defined answers",
            f"{defined:.2f} bits",
            "mean number of defined answers in the evaluation sample times log2 K: compare present with this",
        ),
        ("entropy if all were defined", f"{stated:.2f} bits", "the stated prior, absent answers counted as well"),
    ]


def print_states(measured: MeasuredStates) -> None:
    """Certified bits, the decoder that reads them, the answers that are there, and what that rests on."""
    report = measured.report
    present, prior, counts = report.present, report.prior, report.n_sequences
    say(f"{measured.file}: {prior.n_answers} answers of {prior.n_values} values\n")
    groups = []
    if report.n_groups is not None:
        each = ", ".join(f"{n} {name}" for name, n in report.n_groups.items())
        groups = [("groups", str(sum(report.n_groups.values())), f"{each}; each is one observation")]
    promised = ", ".join(f"{name} {bits:.2f}" for name, bits in report.calibration_estimate_bits.items())
    print_pairs(
        [
            ("present, certified", f"{present.lower:.2f} bits", f"of I(U;S); T1 {present.form}, {present.method}"),
            ("present, estimate", f"{present.estimate:.2f} bits", "the same formula at what was observed"),
            *_entropies(report),
            ("nominal", f"{report.nominal_bits} bits", "entries of a state times the bits of their type"),
            ("decoder", str(present.decoder), f"chosen on the calibration split, which promised: {promised}"),
            ("null control", f"{report.null_control.lower:.2f} bits", null_words(report.null_control)),
            ("sequences", str(sum(counts.values())), ", ".join(f"{n} {name}" for name, n in counts.items())),
            *groups,
        ]
    )
    if report.retention is not None:
        print_retention(report.retention)
    print_assumptions(report.assumptions)
    say(f"\nAll certified numbers of this report hold together with probability at least {report.confidence:.0%}.")
