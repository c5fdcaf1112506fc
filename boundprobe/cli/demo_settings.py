"""Settings of ``boundprobe demo``: tasks, models, schedules, and the bottlenecks that are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boundprobe.training.config import TrainConfig

ARCHITECTURES = ("attn-attn", "mamba-mamba", "mamba-attn")

#: Task, model and schedule of each half of the demo.  Windows cover what the state-hard prefix asks for, and two
#: such layers still cannot see the far end of the window-hard sequence.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "ar-decoding": {
        "task": {"word_bits": 3, "seq_len": 22},
        "model": {"d_model": 16, "window": 10, "d_state": 8, "mlp_ratio": 2},
        "train": {"steps": 1500, "batch": 64, "learning_rates": [0.005, 0.01], "weight_decay": 0.01},
    },
    "selective-copying": {
        "task": {"n_numbers": 4, "n_letters": 4, "seq_len": 24},
        "model": {"d_model": 16, "window": 5, "d_state": 4, "mlp_ratio": 2},
        "train": {"steps": 800, "batch": 32, "learning_rates": [0.005, 0.01], "weight_decay": 0.01},
    },
}

#: Bottlenecks (entries, bits of an entry) that the first model of one architecture is also measured behind, from
#: well below the bits that no error takes to above them.
BOTTLENECKED = "mamba-attn"
BOTTLENECK_STEPS = 400
BUDGETS: dict[str, tuple[tuple[int, int], ...]] = {
    "ar-decoding": ((1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 8), (1, 9)),  # 8 bits for no error
    "selective-copying": ((1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 8), (4, 3), (4, 4)),  # 12 bits
}

#: The trade-off plane: windows that see none to all of four letters (reach 0 to 4), all else the same.  The recurrent
#: layers have no convolution, so that the reach is that of the windows.
PLANE: dict[str, dict[str, Any]] = {
    "task": {"name": "selective-copying", "n_numbers": 4, "n_letters": 4, "seq_len": 24},
    "model": {"d_model": 16, "d_state": 8, "d_conv": 1, "mlp_ratio": 2},
    "train": {
        "distribution": "state-hard", "steps": 2500, "batch": 64, "learning_rates": [0.02], "weight_decay": 0.01,
        "n_seeds": 1,
    },
}  # fmt: skip
PLANE_MODELS = (("mamba-mamba", 1), ("mamba-attn", 2), ("mamba-attn", 3), ("mamba-attn", 4), ("attn-attn", 3))
#: Accuracy over all answers that marks of the plane stand for.
PLANE_ACCURACY = 0.8
#: Bottlenecks (entries, bits of an entry) along the diagonal for each number of answers beyond it, and training steps.
#: The frontier of that accuracy lies between the first and the last of each, or below the first.
PLANE_BUDGETS: dict[int, tuple[tuple[int, int], ...]] = {
    4: ((4, 2), (4, 3)),
    3: ((3, 2), (3, 3)),
    2: ((2, 2), (2, 3)),
    1: ((1, 1), (1, 2), (1, 3)),
}
PLANE_STEPS: dict[int, int] = {4: 1600, 3: 800, 2: 800, 1: 800}


def build_configs(given: dict[str, Any]) -> list[TrainConfig]:
    """One training run for each task and architecture."""
    from boundprobe.training.config import TrainConfig

    configs = []
    for name, setting in SETTINGS.items():
        schedule = setting["train"] | {"n_seeds": given["n_seeds"]}
        if "steps" in given:
            schedule["steps"] = given["steps"]
        for architecture in ARCHITECTURES:
            parts = {
                "task": {"name": name, **setting["task"]},
                "model": setting["model"] | {"architecture": architecture},
            }
            configs.append(TrainConfig.from_dict(parts | {"train": schedule, "seed": given["seed"]}))
    return configs


def budgets_of(config: TrainConfig) -> tuple[tuple[int, int], ...]:
    """Bottlenecks that a run's first model is measured behind."""
    return BUDGETS[config.task.name] if config.model.architecture == BOTTLENECKED else ()


def build_plane(given: dict[str, Any]) -> list[TrainConfig]:
    """One training run for each model of the trade-off plane."""
    from boundprobe.training.config import TrainConfig

    schedule = PLANE["train"] | ({"steps": given["steps"]} if "steps" in given else {})
    return [
        TrainConfig.from_dict(
            {
                "task": PLANE["task"],
                "model": PLANE["model"] | {"architecture": architecture, "window": window},
                "train": schedule,
                "seed": given["seed"],
            }
        )
        for architecture, window in PLANE_MODELS
    ]


def plane_bottlenecks(config: TrainConfig) -> tuple[tuple[tuple[int, int], ...], int]:
    """Bottlenecks along the diagonal and their training steps; none where no answer lies beyond the reach."""
    from boundprobe.models.sizes import model_stages

    far = config.task.state_case().beyond(sum(stage.reach for stage in model_stages(config.model)))
    return ((), 0) if far is None else (PLANE_BUDGETS[far.n_answers], PLANE_STEPS[far.n_answers])
