"""Write the tables of this folder from the code: ``python docs/theory/make_tables.py``.  A test compares them."""

from __future__ import annotations

from pathlib import Path

from boundprobe.bounds import bounds_report
from boundprobe.tasks import TASKS

HERE = Path(__file__).parent
ERROR = 0.1

HEAD = f"""# Every task at the paper's sizes

Made by `docs/theory/make_tables.py` from `boundprobe.bounds`; a test compares this page with what the code says.
Bits of state at the cut: joint entropy of all answers, what S1 and S3 ask at a mean error of {ERROR:g}, and what zero
error asks (S4).  Then the window-hard half: the last tokens that must be seen, and the best accuracy without the far
token (W2).
A dash says that a bound's condition does not hold, so that nothing is claimed.

| task | preset | parameters | H(Y) | S1 | S3 | zero error | must see | blind | proof of the hard case |
|---|---|---|---:|---:|---:|---:|---:|---:|---|
"""


def bits(value: float | None) -> str:
    """A number of bits, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def tasks_table() -> str:
    """One row for each task and preset."""
    rows = []
    for name, task_class in TASKS.items():
        for preset in ("default", *task_class.presets):
            task = task_class(**task_class.presets.get(preset, {}))
            report = bounds_report(task, ERROR)
            state, window = report.state, report.window
            parameters = ", ".join(f"{key}={value}" for key, value in task.parameters().items() if value is not None)
            cells = [f"`{name}`", preset, parameters, bits(state.entropy_bits), bits(state.fano_bits)]
            cells += [bits(state.packing_bits), bits(state.zero_error_bits), f"{window.min_receptive_field} tokens"]
            cells += [f"{window.blind_accuracy:.6f}", task.state_case().theorem]
            rows.append(f"| {' | '.join(cells)} |\n")
    cases = {name: (task_class().state_case(), task_class().window_case()) for name, task_class in TASKS.items()}
    forces = "".join(
        f"- **`{name}`**. State-hard: {state.forces}. Window-hard: {window.forces}.\n"
        for name, (state, window) in cases.items()
    )
    return HEAD + "".join(rows) + "\n## What each hard distribution forces\n\n" + forces


if __name__ == "__main__":
    (HERE / "tasks.md").write_text(tasks_table(), encoding="utf-8")
