"""Measurement of one trained model: three splits, decoders, roundings, and the ladder that they certify."""

from __future__ import annotations

from dataclasses import replace

from boundprobe.bounds import DiagonalCuts, Stage, window_accuracy_ceiling
from boundprobe.checks import check_kind, refuse
from boundprobe.models.cut_model import CutModel, check_members, stages_of
from boundprobe.models.diagonal import DiagonalCut
from boundprobe.models.stack import SequenceModel
from boundprobe.probes.certificates.assumptions import Assumption, all_of
from boundprobe.probes.certificates.binomial import (
    Proportion,
    answer_errors,
    proportion,
    required_by,
)
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.information import Scored
from boundprobe.probes.certificates.list_decoding import choose_threshold, states_certificate
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.sample import Sample, Splits
from boundprobe.probes.diagonal import diagonal_of, diagonal_violations, lag_of, seen_from
from boundprobe.probes.ladder import Ladder
from boundprobe.probes.model_answers import Reading, interchange_check, read_answers, states_at_cut
from boundprobe.probes.null import null_control
from boundprobe.probes.present import (
    classes,
    entries,
    present_bits,
    present_by_part,
    retention_of,
    used_bits,
)
from boundprobe.probes.quantised.machines import (
    coarsest,
    rounded_entropy,
    roundings,
    run_rounded,
)
from boundprobe.probes.settings import LADDER_PARTS, VERTICAL, ProbeConfig, certificate_level, premise_level
from boundprobe.probes.violations import find_violations
from boundprobe.seeds import generator
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.cases import StateCase
from boundprobe.training.evaluate import scored_answers


def measure(model: CutModel, task: AbstractTask, config: ProbeConfig, device: str = "cpu") -> Ladder:
    """Measure the memory of one frozen model at the cut, and hold it against the bounds.

    Parameters
    ----------
    model : CutModel
        A ``SequenceModel``, or any model that answers across a cut (``boundprobe.CutModel``); trained on other streams
        than the probe's (``boundprobe.seeds`` keeps the roles apart).
    task : AbstractTask
    config : ProbeConfig
        With ``cut="diagonal"``, which only a ``SequenceModel`` can be asked for, what crosses its diagonal cut of the
        greatest lag is measured, for the answers that lie beyond it (D1).
    device : str
        Where decoders are trained.
    """
    check_kind("config", config, ProbeConfig)
    check_members(model)
    whole = model
    if config.cut != VERTICAL:
        if not isinstance(model, SequenceModel):
            got = f"{config.cut}, of a {type(model).__name__}"
            refuse("cut", "vertical but for a SequenceModel, whose layers can be read at times of their own", got)
        model, task = seen_from(config.cut, model, task)
    lag = lag_of(task)
    if isinstance(model, SequenceModel | DiagonalCut) and lag != (own_lag := getattr(model, "lag", 0)):
        refuse("task", f"of the answers beyond the model's own lag of {own_lag} tokens", f"one beyond {lag}")
    alpha = certificate_level(config.confidence, LADDER_PARTS)
    case, values = task.stream_case(config.stream), task.stream_values(config.stream)
    cuts = tuple(
        task.sample_cut_stream(n, generator(config.seed, role, index), config.stream)
        for n, role, index in (
            (config.n_train, "probe-training", 0),
            (config.n_calibration, "calibration", 2),
            (config.n_sequences, "evaluation", 2),
        )
    )
    states = tuple(states_at_cut(model, cut.prefix) for cut in cuts)
    samples = [Sample(entries(of_cut), classes(cut, values)) for of_cut, cut in zip(states, cuts, strict=True)]
    splits = Splits(*samples)
    (_, known, measured), (_, calibration, evaluation) = states, cuts
    read = [read_answers(model, of_cut, cut, values) for of_cut, cut in ((known, calibration), (measured, evaluation))]
    own = (Scored(read[0].scores, splits.calibration.answers), Scored(read[1].scores, splits.evaluation.answers))
    prior = Prior.of_case(case, len(values))
    errors = answer_errors(read[1].wrong, alpha)
    required = required_by(case, errors)
    used = used_bits(prior, *own, alpha, config.seed)
    decoded, present = present_bits(prior, splits, None if lag else own, config, alpha, device)
    parts = present_by_part(prior, (states[0], known, measured), splits, config, alpha, device)
    control = null_control(
        prior, splits, decoded, config.decoding(config.decoders), premise_level(config.confidence), device
    )
    used, present = control.guard(used), control.guard(present)
    parts = tuple(replace(part, present=control.guard(part.present)) for part in parts)
    retention = retention_of(decoded, evaluation, case.n_values, alpha) if case.independent_uniform else None
    log_states = _states_bits(case, read[0], read[1], alpha)
    tried = roundings(known)
    rounded = run_rounded(model, measured, evaluation, case, tried, alpha)
    kept = coarsest(model, known, calibration, tried, config.tolerance)
    needed = entropy = None
    if kept is not None:
        needed = next(machine for machine in rounded if machine.entry_bits == kept.entry_bits)
        entropy = rounded_entropy(kept, (states[0], known, measured), alpha, generator(config.seed, "order", 3))
    memory, window_hard = measured[0].bits(), _window_hard(whole, task, config, alpha)
    stages = _checked_stages(whole, task, memory.total_bits)
    ceiling = window_accuracy_ceiling(task.window_case(), whole.receptive_field)
    outside = interchange_check(model, measured[0], evaluation, with_suffixes=bool(lag))
    diagonal = diagonal_of(stages, task, config.stream, errors.accuracy)
    broken = find_violations(
        entropy_bits=case.entropy_bits,
        nominal_bits=memory.total_bits,
        bounds={"used": used, "present": present, "required": required}
        | ({} if log_states is None else {"states": log_states}),
        parts=parts,
        rounded=rounded,
        needed=needed,
        rounded_entropy=entropy,
        window_hard=window_hard,
        window_ceiling=ceiling,
        retention=retention,
        n_answers=case.n_answers,
        n_values=case.n_values,
    ) + diagonal_violations(diagonal, errors.accuracy)
    return Ladder(
        stream=config.stream,
        lag=lag,
        entropy_bits=case.entropy_bits,
        n_values=case.n_values,
        errors=errors,
        required=required,
        used=used,
        present=present,
        parts=parts,
        null_control=control,
        retention=retention,
        states=log_states,
        rounded=rounded,
        needed=needed,
        rounded_entropy=entropy,
        memory=memory,
        window_hard=window_hard,
        window_ceiling=ceiling,
        diagonal=diagonal,
        assumptions=_assumptions(case, outside, decoded.interchanged),
        confidence=config.confidence,
        violations=broken if outside is None else (outside, *broken),
    )


def _checked_stages(model: CutModel, task: AbstractTask, state_bits: int) -> tuple[Stage, ...] | None:
    """Stages that a model says it has; at least the bits of its state, or D1 would be held against another model."""
    stages = stages_of(model)
    if stages is None or isinstance(model, SequenceModel | DiagonalCut):
        return stages
    said = int(DiagonalCuts(stages, task.prefix_len, 0).total_bits[0])
    if said < state_bits:
        refuse("stages", f"at least the {state_bits} bits of the model's state together", f"{said} bits")
    return stages


def _assumptions(case: StateCase, outside: str | None, decoder: str) -> tuple[Assumption, ...]:
    """Assumptions of a ladder: its generator has the task's distribution; the model and the decoder were checked."""
    model = outside or "states of the model were swapped between sequences: the answers went with them"
    return all_of(
        "drawn by the task's sampler; limits of the rounding, whitening and decoders come from other draws",
        f"the sampler's own distribution, seeded through a pool of 128 bits ({case.theorem})",
        f"{model}; {decoder}",
        frozen="training, calibration and evaluation are streams of their own; the second chooses decoder and form",
    )


def _states_bits(case: StateCase, calibration: Reading, evaluation: Reading, alpha: float) -> CertifiedBound | None:
    """The list-decoding certificate of the model's own answers."""
    if not case.independent_uniform:
        return None
    threshold = choose_threshold(calibration.wrong, case.n_values, len(evaluation.wrong), alpha)
    return states_certificate(evaluation.wrong, case.n_values, threshold, alpha)


def _window_hard(model: CutModel, task: AbstractTask, config: ProbeConfig, alpha: float) -> Proportion:
    """Accuracy on the window-hard half with confidence bounds, exact where a sequence has one answer."""
    batch = task.sample(config.n_sequences, generator(config.seed, "evaluation", 3), "window-hard")
    return proportion(*scored_answers(model, batch, task.answers_per_sequence), alpha)
