"""Every statistic under one name: intervals and paired tests, metrics of classification, the verdict.

Numpy and scipy alone. Knows no model, no file and no configuration.
"""

from feinschliff.results.classification import (
    MULTI_LABEL_METRICS,
    SINGLE_LABEL_METRICS,
    classification_metrics,
    confusion_matrix,
    metric_function,
    multi_label_metrics,
    per_class,
)
from feinschliff.results.intervals import (
    bootstrap_measure,
    expected_calibration_error,
    mcnemar_mid_p,
    paired_bootstrap,
    paired_difference_of_proportions,
    proportion_interval,
    rare_strata,
    rows_needed,
    rows_needed_from_interval,
)
from feinschliff.results.verdicts import Evidence, compare_predictions, decide, verdict

__all__ = [
    "MULTI_LABEL_METRICS",
    "SINGLE_LABEL_METRICS",
    "Evidence",
    "bootstrap_measure",
    "classification_metrics",
    "compare_predictions",
    "confusion_matrix",
    "decide",
    "expected_calibration_error",
    "mcnemar_mid_p",
    "metric_function",
    "multi_label_metrics",
    "paired_bootstrap",
    "paired_difference_of_proportions",
    "per_class",
    "proportion_interval",
    "rare_strata",
    "rows_needed",
    "rows_needed_from_interval",
    "verdict",
]
