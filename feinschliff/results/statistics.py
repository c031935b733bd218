"""Every statistic under one name: intervals and paired tests, metrics of every kind of task, the verdict.

Numpy and scipy alone (BLEU also asks sacrebleu, when it is called). Knows no model, no file and no configuration.
"""

from feinschliff.results.answers import (
    ANSWER_METRICS,
    answer_figures,
    answer_metrics,
    best_no_answer_threshold,
    has_answer,
)
from feinschliff.results.classification import (
    MULTI_LABEL_METRICS,
    SINGLE_LABEL_METRICS,
    classification_metrics,
    confusion_matrix,
    metric_function,
    multi_label_metrics,
    per_class,
)
from feinschliff.results.formats import LESS_IS_BETTER
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
from feinschliff.results.ranking import ranking_figures, ranking_metrics, ranks_of_relevant
from feinschliff.results.regression import (
    REGRESSION_METRICS,
    per_target,
    regression_figures,
    regression_metrics,
    regression_statistic,
    row_errors,
)
from feinschliff.results.resampling import Figure, measure_figures, paired_figures, value_of
from feinschliff.results.spans import (
    ENTITY_METRICS,
    entity_figures,
    entity_metrics,
    entity_statistic,
    per_label,
    span_counts,
)
from feinschliff.results.translation import (
    SUMMARY_METRICS,
    TRANSLATION_METRICS,
    summary_figures,
    summary_metrics,
    translation_figures,
    translation_metrics,
)
from feinschliff.results.verdicts import Evidence, compare, compare_predictions, decide, smallest_gain, verdict

__all__ = [
    "ANSWER_METRICS",
    "ENTITY_METRICS",
    "LESS_IS_BETTER",
    "MULTI_LABEL_METRICS",
    "REGRESSION_METRICS",
    "SINGLE_LABEL_METRICS",
    "SUMMARY_METRICS",
    "TRANSLATION_METRICS",
    "Evidence",
    "Figure",
    "answer_figures",
    "answer_metrics",
    "best_no_answer_threshold",
    "bootstrap_measure",
    "classification_metrics",
    "compare",
    "compare_predictions",
    "confusion_matrix",
    "decide",
    "entity_figures",
    "entity_metrics",
    "entity_statistic",
    "expected_calibration_error",
    "has_answer",
    "mcnemar_mid_p",
    "measure_figures",
    "metric_function",
    "multi_label_metrics",
    "paired_bootstrap",
    "paired_difference_of_proportions",
    "paired_figures",
    "per_class",
    "per_label",
    "per_target",
    "proportion_interval",
    "ranking_figures",
    "ranking_metrics",
    "ranks_of_relevant",
    "rare_strata",
    "regression_figures",
    "regression_metrics",
    "regression_statistic",
    "row_errors",
    "rows_needed",
    "rows_needed_from_interval",
    "smallest_gain",
    "span_counts",
    "summary_figures",
    "summary_metrics",
    "translation_figures",
    "translation_metrics",
    "value_of",
    "verdict",
]
