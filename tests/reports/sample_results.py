"""Results as a real run gives them, for the tests of reports: 77 classes and 2, with hostile texts in the rows."""

from __future__ import annotations

import math

import numpy as np

from feinschliff.results.comparison import CandidateTrial, Origin, RowCounts, TuneDetails, TuneResult
from feinschliff.results.data import ColumnsFound, DataReport, Finding, LengthSummary, RowRef
from feinschliff.results.evaluation import EvaluationResult, WrongRow
from feinschliff.results.statistics import (
    classification_metrics,
    compare_predictions,
    confusion_matrix,
    expected_calibration_error,
    per_class,
    verdict,
)
from feinschliff.results.training import CurvePoint, Diagnosis, Forecast, RatePoint, RateSearch, TrainingResult

HOSTILE = (
    "<script>alert('row')</script> & \"quoted\" | [link](javascript:alert(1)) `code` **bold** <img src=x onerror=go()>"
)
_TOPICS = (
    "card",
    "transfer",
    "top_up",
    "refund",
    "exchange_rate",
    "cash_withdrawal",
    "identity",
    "account",
    "pin",
    "fee",
    "direct_debit",
)
_ASPECTS = (
    "arrival_time",
    "not_recognised",
    "declined",
    "pending_for_longer_than_expected",
    "wrong_amount",
    "cancelled",
    "how_to",
)
_TEXTS = (
    "I am still waiting on my card, it has been two weeks?",
    "Why was I charged twice for the same transfer to my landlord, and when do I get the money back",
    "the exchange rate in the app is not the one you gave me at the ATM",
    "pls help!!! pin blocked",
    HOSTILE,
)


def labels_of(num_classes: int) -> list[str]:
    if num_classes == 2:
        return ["negative", "positive"]
    names = [f"{topic}_{aspect}" for topic in _TOPICS for aspect in _ASPECTS]
    return sorted(names if num_classes <= len(names) else [f"class {i}" for i in range(num_classes)])[:num_classes]


def _predictions(references: np.ndarray, hard: np.ndarray, accuracy: float, num_classes: int, seed: int) -> np.ndarray:
    """Right at about ``accuracy``, worse on hard rows and later classes; mistakes mostly go to a neighbour."""
    generator = np.random.default_rng(seed)
    chance = np.clip(accuracy + 0.04 - 0.3 * hard - 0.06 * (references / num_classes - 0.5), 0, 1)
    neighbour = (references + generator.choice([1, 1, 1, 5], len(references))) % num_classes
    return np.where(generator.random(len(references)) < chance, references, neighbour)


def evaluation(
    references: np.ndarray, predictions: np.ndarray, labels: list[str], rng: np.random.Generator
) -> EvaluationResult:
    right = references == predictions
    confidence = np.clip(
        np.where(right, rng.beta(9, 1.1, len(right)), rng.beta(4, 2.6, len(right))), 1 / len(labels), 1
    )
    wrong = [i for i in np.argsort(-confidence) if not right[i]][:20]
    return EvaluationResult(
        rows=len(references),
        metric="accuracy",
        metrics=classification_metrics(references, predictions, len(labels), samples=400),
        confidence=0.95,
        labels=labels,
        confusion=confusion_matrix(references, predictions, len(labels)).tolist(),
        classes=per_class(references, predictions, labels),
        calibration=expected_calibration_error(confidence, right),
        worst=[
            WrongRow(
                row=RowRef(file="data/held_out.csv", line=int(i) + 2, text=_TEXTS[n % len(_TEXTS)]),
                reference=labels[references[i]],
                prediction=labels[predictions[i]],
                confidence=float(confidence[i]),
            )
            for n, i in enumerate(wrong)
        ],
        rows_per_second=842.0,
        notes=["3 of the test rows were longer than 64 tokens and cut"],
    )


def data_report(labels: list[str]) -> DataReport:
    rng = np.random.default_rng(1)
    example = RowRef(file="data/tickets.csv", line=812, text=HOSTILE, note="twin of tickets.csv:77")
    return DataReport(
        files=["data/tickets.csv"],
        rows=13_083,
        columns=ColumnsFound(
            text=["text"],
            target="category",
            announcements=[
                f'label column "category": name and {len(labels)} values',
                'text column "text": the longest texts',
            ],
        ),
        label_counts={label: int(n) for label, n in zip(labels, rng.integers(35, 230, len(labels)), strict=True)},
        lengths=LengthSummary(
            mean=14.2,
            median=12,
            p95=31,
            p99=52,
            longest=98,
            limit=64,
            cut_at={16: 0.27, 32: 0.044, 64: 0.0031, 128: 0.0},
        ),
        findings=[
            Finding(
                kind="near_duplicate",
                severity="warning",
                count=141,
                message="141 rows are nearly equal to another row.",
                remedy="They were kept on one side of the split, so that no test row has a twin in training.",
                examples=[example],
            ),
            Finding(
                kind="label_error",
                severity="warning",
                count=63,
                message="63 labels look wrong: a probe that never saw the row is sure of another class.",
                remedy="Look through them with: feinschliff data clean data/tickets.csv",
                examples=[example, example],
            ),
            Finding(
                kind="conflicting_labels",
                severity="error",
                count=4,
                message="4 texts stand twice with different labels.",
            ),
            Finding(
                kind="length", severity="info", count=41, message="41 rows are longer than 64 tokens and will be cut."
            ),
        ],
        seconds=3.4,
        sha256={"data/tickets.csv": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    )


def training_result() -> TrainingResult:
    rng = np.random.default_rng(2)
    steps = range(1, 1601)
    curve = [
        CurvePoint(
            step=s,
            epoch=s / 267,
            train_loss=0.75 + 3.4 * math.exp(-s / 130) + float(rng.normal(0, 0.05)),
            learning_rate=2e-4 * (1 - s / 1600),
        )
        for s in steps
    ]
    for epoch, (loss, metric) in enumerate(
        [(1.22, 0.861), (0.94, 0.917), (0.88, 0.931), (0.86, 0.938), (0.85, 0.941), (0.851, 0.940)]
    ):
        curve.append(
            CurvePoint(step=267 * (epoch + 1) - 2, epoch=epoch + 1, validation_loss=loss, validation_metric=metric)
        )
    return TrainingResult(
        method="full",
        steps=1600,
        epochs=6,
        rows=8502,
        tokens=724_000,
        seconds=271.3,
        rows_per_second=188.0,
        trained_parameters=22_742_861,
        all_parameters=22_742_861,
        precision="bf16",
        metric="accuracy",
        best_metric=0.941,
        best_step=1333,
        stopped_early=False,
        curve=curve,
        forecast=Forecast(forecast_seconds=250.0, actual_seconds=271.3),
        diagnosis=Diagnosis(
            train_rows=1000,
            validation_rows=850,
            train_loss=0.02,
            validation_loss=0.31,
            train_metric=0.998,
            validation_metric=0.941,
            train_sure=0.91,
            validation_sure=0.62,
            best_step=1333,
            last_step=1600,
            loss_rises_after=1333,
            sentences=["Part of the training rows was learned by heart: 91% of them are surely right."],
            wrong=[
                WrongRow(
                    row=RowRef(file="tickets.csv", line=71, text=HOSTILE),
                    reference=HOSTILE,
                    prediction="card_arrival",
                    confidence=0.97,
                )
            ],
        ),
        announcements=["precision bf16: a step takes 41 ms, in fp32 92 ms, measured on this machine"],
        weights_sha256="c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2",
    )


def tune_result(num_classes: int = 77, test_rows: int = 3080, ours: float = 0.95, theirs: float = 0.93) -> TuneResult:
    """What `tune` returns, from simulated predictions of the given accuracies."""
    rng = np.random.default_rng(num_classes)
    labels = labels_of(num_classes)
    references = rng.integers(0, num_classes, test_rows)
    hard = (rng.random(test_rows) < 0.12).astype(float)
    tuned = _predictions(references, hard, ours, num_classes, 1)
    probe = np.where(rng.random(test_rows) < 0.75, tuned, _predictions(references, hard, theirs - 0.03, num_classes, 2))
    if theirs >= ours:
        tuned, probe = probe, tuned
    found = verdict(compare_predictions("accuracy", "linear probe", references, tuned, probe, num_classes))
    mine, probed = (evaluation(references, given, labels, rng) for given in (tuned, probe))
    majority = classification_metrics(
        references, np.full(test_rows, int(np.bincount(references).argmax())), num_classes, 200
    )
    return TuneResult(
        verdict=found.verdict,
        metric="accuracy",
        test=mine.metrics,
        baselines={"linear probe": probed.metrics, "majority class": majority},
        difference=found.difference,
        rows=RowCounts(train=8502, validation=1501, test=test_rows, dropped=57),
        recipe="full fine-tuning, 6 epochs, learning rate 2e-4",
        seconds=412.0,
        run="runs/tickets",
        report="runs/tickets/report.html",
        model="runs/tickets/model",
        details=TuneDetails(
            verdict=found,
            data=data_report(labels),
            columns=data_report(labels).columns,
            trials=[
                CandidateTrial(recipe="linear probe", validation_metric=0.9267, seconds=14.2),
                CandidateTrial(recipe="last 2 layers", validation_metric=0.9341, seconds=38.0, note="from the cache"),
                CandidateTrial(recipe="full fine-tuning", validation_metric=0.9414, seconds=271.3, chosen=True),
                CandidateTrial(
                    recipe="LoRA rank 16", validation_metric=None, seconds=41.0, note="cut short: over the time budget"
                ),
            ],
            training=training_result(),
            evaluation=mine,
            baseline_evaluation=probed,
            origins=[
                Origin(field="model.source", value="minilm-l6", origin="default"),
                Origin(field="training.learning_rate", value="0.0002", origin="method full"),
                Origin(field="training.precision", value="bf16", origin="measured"),
                Origin(field="data.target", value="category", origin="found in the data"),
                Origin(field="seed", value="3", origin="command line"),
            ],
            announcements=["metric accuracy: the classes are of similar size"],
            base_model="minilm-l6",
            base_license="Apache-2.0",
            seed=3,
            dropped_reasons={"exact duplicate of a training row": 53, "empty text": 4},
            forecast_seconds=380.0,
            actual_seconds=412.0,
            machine="2 cores, AVX512-BF16, 16 GiB",
            versions={"feinschliff": "0.1.0", "torch": "2.13.1", "transformers": "5.23.0"},
        ),
    )


def rate_search(fell: bool = True) -> RateSearch:
    """What `rates` returns: a sweep of 80 of 100 steps."""
    rates = [1e-7 * 10 ** (7 * step / 99) for step in range(80)]
    losses = [2.0 - 1.2 * math.exp(-((math.log10(rate) + 3.0) ** 2)) + 400 * rate**2 for rate in rates]
    points = [
        RatePoint(rate=r, loss=loss + 0.1 * (-1) ** i, smoothed=loss)
        for i, (r, loss) in enumerate(zip(rates, losses, strict=True))
    ]
    return RateSearch(
        method="full",
        rows=8502,
        steps=100,
        points=points,
        suggestion=1e-4 if fell else None,
        steepest=2.2e-4 if fell else None,
        lowest=1e-3 if fell else None,
        default=5e-5,
        seconds=12.0,
        announcements=[HOSTILE],
    )
