"""Relations between a ladder that is read back and its run: the settings of the measurement, and the task.

The task gives the entropy, the sizes and the ceiling.  A user's own gives them where the user has named or trusted it;
elsewhere it is not executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from boundprobe.bounds import window_accuracy_ceiling
from boundprobe.bounds.state.fano import fano_bits
from boundprobe.errors import RunDirectoryError
from boundprobe.hf.source import ForeignModel
from boundprobe.hf.vocabulary import rewritten_of
from boundprobe.models.spec import ModelSpec
from boundprobe.probes.certificates.binomial import clopper_pearson
from boundprobe.probes.certificates.retention import ALONE, GIVEN_EARLIER
from boundprobe.probes.counts import MOST_COUNTS, errors_of, most_certified_bits, states_by_count, whole_counts
from boundprobe.probes.diagonal import diagonal_of, greatest_lag, lag_of
from boundprobe.probes.ladder import Ladder
from boundprobe.probes.ladder_relations import certificates_of
from boundprobe.probes.model_sizes import ModelSizes, check_model, sizes_of
from boundprobe.probes.part_relations import check_retention_counts, check_rounded_counts
from boundprobe.probes.read_back import check_counts_bits, check_most, check_named, check_same
from boundprobe.probes.settings import LADDER_PARTS, VERTICAL, ProbeConfig, certificate_level
from boundprobe.probes.violations import rounding_slack
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE, AbstractTask, CutBatch
from boundprobe.tasks.beyond import Beyond
from boundprobe.tasks.custom.consent import is_consented
from boundprobe.tasks.custom.source import HASH_KEY
from boundprobe.tasks.registry import task_of

#: Tokens that are drawn again to see where answers lie.
MOST_TOKENS = 2**22


@dataclass(frozen=True)
class LadderInRun:
    """A ladder with what its run's configuration says.

    Attributes
    ----------
    ladder : Ladder
    config : ProbeConfig
    sizes : ModelSizes or None
        None without a task, and for a model with a mixer of somebody's own that is not named here.
    task : AbstractTask or None
        None for a user's own that the user has neither named nor trusted: it is not executed.  Along a diagonal cut the
        answers beyond its lag.
    """

    ladder: Ladder
    config: ProbeConfig
    sizes: ModelSizes | None
    task: AbstractTask | None

    @property
    def level(self) -> float:
        """Of each part of the ladder."""
        return certificate_level(self.config.confidence, LADDER_PARTS)

    @property
    def n_values(self) -> int:
        """Values that codes are over: of the case, or more."""
        return self.ladder.n_values if self.task is None else len(self.task.stream_values(self.config.stream))

    @property
    def cut(self) -> CutBatch | None:
        """One sequence of the task, cut."""
        if self.task is None:
            return None
        return self.task.sample_cut_stream(1, generator(0, "sample"), self.config.stream)


def _settings(run: LadderInRun) -> None:
    """The ladder has the settings of its run."""
    check_same(run.config.stream, run.ladder.stream, "stream")
    check_same(run.config.confidence, run.ladder.confidence, "confidence")
    check_named("present_bits.decoder", run.ladder.present.decoder, ("model", *run.config.decoders))
    for i, part in enumerate(run.ladder.parts):
        check_named(f"present_by_part.{i}.present_bits.decoder", part.present.decoder, run.config.part_decoders)


def _case(run: LadderInRun) -> None:
    """Answers are those of the task."""
    if run.task is not None:
        case, ladder = run.task.stream_case(run.config.stream), run.ladder
        check_same(case.entropy_bits, ladder.entropy_bits, "entropy_bits")
        check_same(case.n_values, ladder.n_values, "n_values")
        check_same(case.n_answers, len(ladder.errors.estimate), "answer_errors, their number,")
        check_same(case.independent_uniform, ladder.retention is not None, "retention, that it is there,")


def _sizes(run: LadderInRun) -> None:
    """Sizes and the receptive field are those of the model's.

    Sizes that violate a bound are said as that, loudly, and not as damage.
    """
    if run.task is None or run.sizes is None:
        return
    sizes, ladder = run.sizes, run.ladder
    ceiling = window_accuracy_ceiling(run.task.window_case(), sizes.receptive_field)
    check_same(ceiling, ladder.window_ceiling, "window_accuracy_ceiling")
    check_same(lag_of(run.task), ladder.lag, "lag")
    cuts = diagonal_of(sizes.stages, run.task, ladder.stream, ladder.errors.accuracy), ladder.diagonal
    made, found_cut = (None if cut is None else cut.to_json() for cut in cuts)
    check_same(made, found_cut, "diagonal")
    if ladder.violations:
        return
    if sizes.parts is None or sizes.n_entries is None:
        return
    found = {f"{part.kind} of layer {part.layer}": part.nominal_bits for part in ladder.parts}
    check_same(sorted(sizes.parts.items()), sorted(found.items()), "present_by_part")
    if (n_entries := ladder.rounded[0].total_bits) > sizes.n_entries:
        raise ValueError(
            f"`rounded.0.bits` must be at most {sizes.n_entries}, the entries of the state; got {n_entries}"
        )


def _counts(run: LadderInRun) -> None:
    """Errors are counts of the evaluated sequences, with their exact bounds."""
    ladder, n = run.ladder, run.config.n_sequences
    n_answers = len(ladder.errors.estimate)
    made = errors_of(ladder.errors.estimate, n, run.level)
    check_same(made.to_json(), ladder.errors.to_json(), "answer_errors")
    check_rounded_counts(ladder.rounded, n_answers, n, run.level)
    if ladder.retention is not None:
        check_retention_counts(ladder.retention, n_answers, ladder.n_values, n, run.level, grouped=False)
    n_all = n + run.config.n_train + run.config.n_calibration
    check_counts_bits(ladder.null_control, ladder.entropy_bits, n_answers, run.n_values, n_all)


def _states(run: LadderInRun) -> None:
    """List decoding follows from a number of sequences within the threshold, which the errors allow."""
    states, n = run.ladder.states, run.config.n_sequences
    if states is None or states.threshold is None or n > MOST_COUNTS:
        return
    n_answers, threshold = len(run.ladder.errors.estimate), states.threshold
    bits = states_by_count(n_answers, run.ladder.n_values, threshold, n, run.level)
    within = np.flatnonzero((np.abs(bits - [states.estimate, states.lower]) < 1e-8).all(1))
    n_wrong = whole_counts(run.ladder.errors.estimate, n, "answer_errors.estimate").sum()
    fewest, most = (n - within) * (threshold + 1), within * threshold + (n - within) * n_answers
    if not ((fewest <= n_wrong) & (n_wrong <= most)).any():
        raise ValueError(
            f"`states_bits` must be those of a number of the {n} sequences with at most {threshold} errors each, "
            f"{n_wrong} in all; got {states.estimate!r} and {states.lower!r}"
        )


def _certified(run: LadderInRun) -> None:
    """No certificate is above what so many sequences can certify at its level."""
    ladder = run.ladder
    n_answers, excess = len(ladder.errors.estimate), ladder.null_control.excess_bits
    for name, bound in certificates_of(ladder).items():
        level = run.level if name in ("used_bits", "present_bits") else run.level / len(ladder.parts)
        most = most_certified_bits(
            ladder.entropy_bits, n_answers, run.n_values, run.config.n_sequences, level, fano=bound.form == "fano"
        )
        check_most(bound, max(0.0, most - excess), name, f"what {run.config.n_sequences} sequences can certify")
    if ladder.used.form == "fano":  # over the values alone a model is right at least as often as over all tokens
        errors = (ladder.errors.upper, ladder.errors.estimate)
        lower, estimate = (fano_bits(ladder.entropy_bits, run.n_values, each) for each in errors)
        for which, least in (("lower", lower - excess), ("estimate", estimate)):
            if getattr(ladder.used, which) < least - rounding_slack(least):
                raise ValueError(f"`used_bits.{which}` must be at least {least:.6g} bits at its errors; got "
                                 f"{getattr(ladder.used, which):.6g}")  # fmt: skip


def _retention_of(run: LadderInRun) -> None:
    """By distance where the task says where answers lie, and given earlier ones where the decoder sees them."""
    cut, held = run.cut, run.ladder.retention
    if cut is None or held is None:
        return
    told = run.ladder.present.decoder == "chain" or (run.ladder.present.decoder == "model" and cut.suffixes is not None)
    check_same("answer" if cut.places is None else "distance", held.by, "retention.by")
    check_same(GIVEN_EARLIER if told else ALONE, held.of, "retention.of")
    if cut.places is None:
        return
    n, length = run.config.n_sequences, cut.prefix.shape[1]
    if held.groups[-1].group > length:
        raise ValueError(f"`retention.groups` must lie in {length} tokens; got distance {held.groups[-1].group}")
    if n * length <= MOST_TOKENS:  # where the answers of the evaluated sequences lie, is drawn again
        assert run.task is not None
        drawn = run.task.sample_cut_stream(n, generator(run.config.seed, "evaluation", 2), run.config.stream).places
        assert drawn is not None
        names, counts = np.unique(length - drawn[drawn != IGNORE], return_counts=True)
        check_same(names.tolist(), [each.group for each in held.groups], "retention.groups.group")
        check_same(counts.tolist(), [each.n_sequences for each in held.groups], "retention.groups.n_sequences")


def _window_counts(run: LadderInRun) -> None:
    """Accuracy with one answer a sequence is a count with its exact bounds; with several its bounds have a width."""
    if run.task is None:
        return
    found, n = run.ladder.window_hard, run.config.n_sequences
    if run.task.answers_per_sequence == 1:
        right = whole_counts(found.estimate, n, "accuracy.window-hard.estimate")
        lower, upper = clopper_pearson(right, n, run.level)
        check_same({"lower": float(lower), "upper": float(upper)}, asdict(found), "accuracy.window-hard")
    elif max(found.lower, 1 - found.upper) > (run.level / 2) ** (1 / n) + 1e-9:
        raise ValueError(f"`accuracy.window-hard` must have bounds as wide as those of {n} sequences; got "
                         f"{found.lower!r} to {found.upper!r}")  # fmt: skip


#: Relations between a ladder and the configuration of its run.
IN_RUN: tuple[Callable[[LadderInRun], None], ...] = (
    _settings,
    _case,
    _sizes,
    _counts,
    _states,
    _certified,
    _retention_of,
    _window_counts,
)


def check_in_run(
    ladder: Ladder, model: ModelSpec | ForeignModel, task: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Raise ``ValueError`` unless a ladder is what its run may have measured.

    Parameters
    ----------
    ladder : Ladder
    model : ModelSpec or ForeignModel
    task : mapping
        Its name and parameters.
    config : mapping
        ``config.toml`` of the probe's run.
    """
    settings, seen = ProbeConfig(**config["probe"]), _task_of(task)
    check_model(model, config)
    if seen is not None and "tokens" in config:
        seen = rewritten_of(seen, config["tokens"])
    if seen is not None and settings.cut != VERTICAL:
        assert isinstance(model, ModelSpec)  # others are measured across vertical cuts alone
        seen = Beyond(seen, greatest_lag(model, seen))
    sizes = None if seen is None else sizes_of(model, config, seen.prefix_len, lag_of(seen))
    run = LadderInRun(ladder, settings, sizes, seen)
    for relation in IN_RUN:
        relation(run)


def _task_of(table: Mapping[str, Any]) -> AbstractTask | None:
    """The task of a run; None for a user's own without consent, which is executed once for all ladders of its runs.

    Raises
    ------
    RunDirectoryError
        If the user consents, and the source is not the one that the run has, or fails.
    """
    name = str(table.get("name", ""))
    if ":" not in name:
        return task_of(table)
    if HASH_KEY not in table:  # naming it without one would be the user's consent
        raise ValueError(f"`task` must have {HASH_KEY}, as a user's own task has; got none")
    if not is_consented(name, str(table[HASH_KEY])):
        return None
    try:
        return _own_task(json.dumps(table, sort_keys=True))
    except ValueError as error:
        raise RunDirectoryError(f"{error} Without --task and --trust its ladders are read without it.") from error


@lru_cache(maxsize=1)
def _own_task(table: str) -> AbstractTask:
    """A user's own task, by its JSON, which has the hash of its source; answers that fail do so here."""
    task = task_of(json.loads(table))
    task.state_case()
    return task
