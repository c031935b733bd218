"""Results written before there were other tasks than classification still load, and the new ones come back whole."""

from feinschliff.results.data import RowRef
from feinschliff.results.evaluation import EvaluationResult, TargetResult, WrongRow
from feinschliff.results.measures import Measure

MEASURE = {"value": 0.9, "low": 0.8, "high": 0.95}


def test_an_older_result_loads() -> None:
    found = EvaluationResult.model_validate(
        {
            "rows": 10,
            "metric": "accuracy",
            "metrics": {"accuracy": MEASURE},
            "confidence": 0.95,
            "worst": [
                {"row": {"file": "a.csv", "line": 3}, "reference": "x", "prediction": "y", "confidence": 0.99},
            ],
        }
    )
    assert found.targets == []
    assert (found.worst[0].confidence, found.worst[0].error) == (0.99, None)


def test_a_regression_comes_back_from_json() -> None:
    metrics = {"rmse": Measure(**MEASURE)}
    result = EvaluationResult(
        rows=2,
        metric="rmse",
        metrics=metrics,
        confidence=0.95,
        targets=[TargetResult(name="score", rows=2, metrics=metrics, points=[(1.0, 1.5), (2.0, 2.5)])],
        worst=[WrongRow(row=RowRef(file="a.csv", line=3), reference="1", prediction="1.5", error=0.5)],
    )
    assert EvaluationResult.model_validate_json(result.model_dump_json()) == result
