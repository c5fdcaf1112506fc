"""Lower bounds on the state and the window that a task takes; numpy only, all numbers in bits and tokens."""

from boundprobe.bounds.enumeration import (
    best_encoder_error,
    distinct_rows,
    encoder_errors,
    encoder_information_bits,
    encoders,
    zero_error_bits,
)
from boundprobe.bounds.information import (
    binary_entropy_bits,
    fano_loss_bits,
    inverse_fano_loss,
)
from boundprobe.bounds.packing import (
    packing_bits,
    packing_error_floor,
)
from boundprobe.bounds.report import (
    AccuracyCurves,
    BoundsReport,
    StateBounds,
    WindowBounds,
    bounds_report,
)
from boundprobe.bounds.state import (
    fano_accuracy_ceiling,
    fano_bits,
    mean_error_fano_bits,
    packing_accuracy_ceiling,
    required_bits,
    store_some_accuracy,
)
from boundprobe.bounds.window import (
    blind_accuracy,
    expected_max_count,
    min_receptive_field,
    min_sum_window_minus_one,
    receptive_field,
    window_accuracy_ceiling,
)

__all__ = [
    "AccuracyCurves",
    "BoundsReport",
    "StateBounds",
    "WindowBounds",
    "best_encoder_error",
    "binary_entropy_bits",
    "blind_accuracy",
    "bounds_report",
    "distinct_rows",
    "encoder_errors",
    "encoder_information_bits",
    "encoders",
    "expected_max_count",
    "fano_accuracy_ceiling",
    "fano_bits",
    "fano_loss_bits",
    "inverse_fano_loss",
    "mean_error_fano_bits",
    "min_receptive_field",
    "min_sum_window_minus_one",
    "packing_accuracy_ceiling",
    "packing_bits",
    "packing_error_floor",
    "receptive_field",
    "required_bits",
    "store_some_accuracy",
    "window_accuracy_ceiling",
    "zero_error_bits",
]
