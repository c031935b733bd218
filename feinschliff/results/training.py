"""What a training run gives back. Knows no loop."""

from __future__ import annotations

from pydantic import Field

from feinschliff.results.evaluation import WrongRow
from feinschliff.results.measures import Result


class CurvePoint(Result):
    """One point of the curves."""

    step: int
    epoch: float
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_metric: float | None = None
    learning_rate: float | None = None


class Forecast(Result):
    """Time said at the start beside what came true (seconds)."""

    forecast_seconds: float
    actual_seconds: float


class RatePoint(Result):
    """One step of a sweep over learning rates."""

    rate: float
    loss: float
    smoothed: float


class RateSearch(Result):
    """The answer of `rates`: losses over growing learning rates, and what they suggest."""

    method: str
    rows: int
    steps: int
    """Steps asked for; fewer points: the loss diverged before."""
    points: list[RatePoint] = Field(default_factory=list)
    suggestion: float | None
    """A tenth of the rate at which the smoothed loss is lowest; None: the loss never fell."""
    steepest: float | None
    """The rate at which it falls fastest."""
    lowest: float | None
    """The rate at which it is lowest."""
    default: float
    """The rate that a run would take without being told: the method's, or the configured one."""
    seconds: float = 0.0
    report: str | None = None
    """The page with the picture."""
    announcements: list[str] = Field(default_factory=list)


class Diagnosis(Result):
    """Learned, or learned by heart: training rows beside validation rows, by the weights that are kept."""

    train_rows: int
    """Rows of the sample of the training rows."""
    validation_rows: int
    train_loss: float
    """Mean cross-entropy without smoothing, dropout or class weights: comparable with the validation's."""
    validation_loss: float
    train_metric: float
    validation_metric: float
    train_sure: float
    """Share answered right with more than 99% confidence."""
    validation_sure: float
    best_step: int
    last_step: int
    loss_rises_after: int | None = None
    """Step of the lowest validation loss, where it is clearly higher at the end (by a tenth)."""
    sentences: list[str] = Field(default_factory=list)
    """The same in plain words."""
    wrong: list[WrongRow] = Field(default_factory=list)
    """Training rows of the sample that are still answered otherwise, with most confidence: likely wrong labels."""


class QuantisedBase(Result):
    """A frozen base that was held in fewer bits while adapters learned over it, and what merging came to."""

    quantization: str
    """`int8` or `nf4`."""
    layers: int
    """Linear layers; embeddings, norms and the projection onto the vocabulary stay as they are."""
    weights: int
    num_bytes: int
    """Of the weights as they are held, scales included."""
    relative_error: float
    """|W - W'| / |W| (root of summed squares), the mean over layers."""
    validation_loss: float | None = None
    """Of the kept adapters over the quantised base, as trained; None: there are no validation rows."""
    merged_validation_loss: float | None = None
    """Of the model folder: the adapters merged into the base in full precision."""

    @property
    def sentence(self) -> str:
        """For whoever starts the run."""
        mib, plain = self.num_bytes / 2**20, self.weights * 2 / 2**20
        return (
            f"base held in {self.quantization}: {self.weights:,} weights of {self.layers} linear layers in {mib:.1f} "
            f"MiB ({8 * self.num_bytes / self.weights:.2f} bits each; bf16 {plain:.1f}, fp32 {2 * plain:.1f} MiB), "
            f"off by {self.relative_error:.1%} of their size"
        )


class TrainingResult(Result):
    """One finished run."""

    method: str
    """The method's `type`."""
    steps: int
    epochs: float
    rows: int
    tokens: int
    seconds: float
    """Seconds in the loop, over all resumed parts."""
    rows_per_second: float
    trained_parameters: int
    all_parameters: int
    precision: str
    learning_rate: float | None = None
    """The peak rate that was used."""
    metric: str
    """Name of the validation metric."""
    best_metric: float | None
    best_step: int
    stopped_early: bool
    curve: list[CurvePoint] = Field(default_factory=list)
    forecast: Forecast | None = None
    prefix_cache: str | None = None
    """What the cache held, where there was one."""
    announcements: list[str] = Field(default_factory=list)
    """Every choice that was made for the person, with its reason."""
    resumed_from_step: int | None = None
    diagnosis: Diagnosis | None = None
    """Where the model was kept and its task gives each row classes."""
    quantised_base: QuantisedBase | None = None
    """Where the method held the frozen base in fewer bits."""
    weights_sha256: str = ""
    """Hash over the kept weights, for comparing runs to the bit."""
