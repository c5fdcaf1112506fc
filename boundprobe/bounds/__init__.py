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
from boundprobe.bounds.neighbours import (
    copying_bits,
    index_lookup_bits,
    index_lookup_width,
    recall_bits,
    recall_capacity,
)
from boundprobe.bounds.report.bound import Bound
from boundprobe.bounds.report.catalogue import (
    CATALOGUE,
    catalogue_to_json,
)
from boundprobe.bounds.report.task import (
    AccuracyCurves,
    BoundsReport,
    StateBounds,
    WindowBounds,
    bounds_report,
)
from boundprobe.bounds.report.verdict import (
    Verdict,
    Witness,
    model_verdicts,
)
from boundprobe.bounds.required import (
    required_state_entries,
    required_window,
)
from boundprobe.bounds.state.absent import absent_answers_bits
from boundprobe.bounds.state.blahut_arimoto import (
    RatePoint,
    blahut_arimoto,
    rate_distortion_uniform,
)
from boundprobe.bounds.state.fano import (
    fano_accuracy_ceiling,
    fano_bits,
    mean_error_fano_bits,
    packing_accuracy_ceiling,
    required_bits,
    store_some_accuracy,
)
from boundprobe.bounds.state.packing import (
    packing_bits,
    packing_error_floor,
)
from boundprobe.bounds.state.rate_distortion import (
    Interval,
    distortion_rate,
    rate_distortion,
)
from boundprobe.bounds.state.streams import (
    key_value_stream_bits,
    token_stream_conditional_entropy,
    token_stream_entropy,
    token_stream_entropy_floor,
)
from boundprobe.bounds.state.whole_string import (
    whole_success_bits,
    whole_success_ceiling,
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
    "CATALOGUE",
    "AccuracyCurves",
    "Bound",
    "BoundsReport",
    "Interval",
    "RatePoint",
    "StateBounds",
    "Verdict",
    "WindowBounds",
    "Witness",
    "absent_answers_bits",
    "best_encoder_error",
    "binary_entropy_bits",
    "blahut_arimoto",
    "blind_accuracy",
    "bounds_report",
    "catalogue_to_json",
    "copying_bits",
    "distinct_rows",
    "distortion_rate",
    "encoder_errors",
    "encoder_information_bits",
    "encoders",
    "expected_max_count",
    "fano_accuracy_ceiling",
    "fano_bits",
    "fano_loss_bits",
    "index_lookup_bits",
    "index_lookup_width",
    "inverse_fano_loss",
    "key_value_stream_bits",
    "mean_error_fano_bits",
    "min_receptive_field",
    "min_sum_window_minus_one",
    "model_verdicts",
    "packing_accuracy_ceiling",
    "packing_bits",
    "packing_error_floor",
    "rate_distortion",
    "rate_distortion_uniform",
    "recall_bits",
    "recall_capacity",
    "receptive_field",
    "required_bits",
    "required_state_entries",
    "required_window",
    "store_some_accuracy",
    "token_stream_conditional_entropy",
    "token_stream_entropy",
    "token_stream_entropy_floor",
    "whole_success_bits",
    "whole_success_ceiling",
    "window_accuracy_ceiling",
    "zero_error_bits",
]
