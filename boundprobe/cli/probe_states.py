"""``boundprobe probe --states FILE.npz``: certified bits in arrays of states from any source."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boundprobe.cli.ladder import print_assumptions, print_retention
from boundprobe.cli.output import print_pairs
from boundprobe.probes.settings import DecoderConfig, StatesConfig

if TYPE_CHECKING:
    from boundprobe.probes.states_report import MeasuredStates

ARRAYS = ("state", "answers")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file: ``state``, ``answers`` and perhaps ``defined``.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    wanted = "must be an .npz with the arrays state (N x d), answers (N x n) and, if some are absent, defined (N x n)"
    if not path.is_file() or not zipfile.is_zipfile(path):
        what = "is no .npz file" if path.is_file() else "is not there"
        raise ValueError(f"`--states` {wanted}; got {path}, which {what}. Write it with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*ARRAYS, "defined") if name in file.files}
            found = file.files
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # numpy's own advice about objects, to load them unsafely, is none that is followed here.
        reason = "it holds Python objects" if "allow_pickle" in str(error) else " ".join(str(error).split())
        raise ValueError(
            f"`--states` {wanted}; got {path}, which cannot be read ({reason}). Write it with numpy.savez."
        ) from None
    for name in ARRAYS:
        if name not in arrays:
            raise ValueError(
                f"`--states` {wanted}; got {path}, which has no array {name!r}, only {', '.join(found) or 'none'}."
            )
    return arrays


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
        ``file``, and ``n_values`` or ``entropy_bits`` or both.
    config : StatesConfig
    root : Path
        Where the run directory is made, once the file was read and its prior checked.
    device : str
    """
    from boundprobe.probes.states_input import read_states
    from boundprobe.probes.states_report import MeasuredStates, certify_read, split
    from boundprobe.runs.store import open_run

    path, prior = Path(states["file"]), {name: states.get(name) for name in ("n_values", "entropy_bits")}
    arrays = read_arrays(path)
    given = read_states(arrays["state"], arrays["answers"], defined=arrays.get("defined"), **prior)
    split(given, config)  # refuses too few before there is a directory
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    run = open_run(root, "probe", {"states": {"sha256": digest} | prior, "probe": asdict(config)})
    if (known := run.result()) is None:
        with run.session(device=device, seeds={"seed": config.seed, "roles": "split, order"}):
            report = certify_read(given, config, device=device)
            run.finish(MeasuredStates(run.run_id, run.path, path.name, digest, report).to_json())
        known = run.result()
        assert known is not None  # just written
    return MeasuredStates.from_json(known)


def print_states(measured: MeasuredStates) -> None:
    """Certified bits, the decoder that reads them, the answers that are there, and what that rests on."""
    report = measured.report
    present, prior, counts = report.present, report.prior, report.n_sequences
    print(f"{measured.file}: {prior.n_answers} answers of {prior.n_values} values\n")
    promised = ", ".join(f"{name} {bits:.2f}" for name, bits in report.calibration_estimate_bits.items())
    print_pairs(
        [
            ("present, certified", f"{present.lower:.2f} bits", f"of I(U;S); T1 {present.form}, {present.method}"),
            ("present, estimate", f"{present.estimate:.2f} bits", "the same formula at what was observed"),
            ("entropy of the answers", f"{prior.entropy_bits:.2f} bits", "the stated prior"),
            ("nominal", f"{report.nominal_bits} bits", "entries of a state times the bits of their type"),
            ("decoder", str(present.decoder), f"chosen on the calibration split, which promised: {promised}"),
            ("sequences", str(sum(counts.values())), ", ".join(f"{n} {name}" for name, n in counts.items())),
        ]
    )
    if report.retention is not None:
        print_retention(report.retention)
    print_assumptions(report.assumptions)
    print(f"\nAll certified numbers of this report hold together with probability at least {report.confidence:.0%}.")
