"""Prepares X and y, as scikit-learn passes them, in the same form as a table.

Out: a frame with the kinds of its columns, and the ``Prepared`` of a run without test rows. Shape letters: N rows.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.api.types import infer_dtype, is_extension_array_dtype

from tabtune_core.data.encoding import DATED, LabelEncoder, label_numbers
from tabtune_core.data.findings import Kind
from tabtune_core.data.reading.dates import kind_of_texts
from tabtune_core.data.splits import Split, labelled_rows, sample_rows, strata_of
from tabtune_core.data.target import is_continuous
from tabtune_core.data.target_checks import check_label
from tabtune_core.data.task import Context, Prepared, make_context, split_table
from tabtune_core.data.values import column_kind, date_texts, numbers, present, words
from tabtune_core.errors import LabelError, TableError, warn
from tabtune_core.metrics import Task
from tabtune_core.settings import RunSettings
from tabtune_core.wording import counted

NO_LOSS = "so there is no loss. Give some rows a weight above 0."


def read_rows(x: Any, columns: Sequence[str] | None = None, needed: Sequence[str] | None = None) -> pd.DataFrame:
    """Returns X as a frame whose column names are text; an array has the names ``columns``, or x0, x1 and so on.

    At prediction ``columns`` are the fitted names and ``needed`` those that are read (by default all). TableError:
    X is not a table, lacks a needed column, or is an array of another width.
    """
    if not isinstance(x, pd.DataFrame) and hasattr(x, "__arrow_c_stream__"):  # Polars, Arrow, DuckDB
        try:
            x = pa.table(x).to_pandas()
        except (pa.ArrowException, TypeError) as error:
            raise TableError(f"Arrow cannot convert X: {error}. Pass a pandas frame.") from error
    frame = x if isinstance(x, pd.DataFrame) else _frame_of(x, columns)
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    if frame.shape[1] == 0:
        raise TableError(f"X has 0 feature(s) (shape={frame.shape}) while a minimum of 1 is required.")
    needed = columns if needed is None else needed
    missing = [name for name in needed or () if name not in frame.columns]
    if missing:
        raise TableError(f"X lacks the columns {', '.join(map(repr, missing))}, with which the pipeline was fitted.")
    if needed is not None:
        frame = frame.loc[:, frame.columns.isin(needed)]
    if not frame.columns.is_unique:
        raise TableError(f"X has two columns named {frame.columns[frame.columns.duplicated()][0]!r}; rename one.")
    return frame.reset_index(drop=True)


def _frame_of(x: Any, columns: Sequence[str] | None) -> pd.DataFrame:
    from sklearn.utils import check_array  # takes half a second to import

    if hasattr(x, "toarray"):
        raise TableError("X is a sparse matrix; sparse input is not supported. Pass X.toarray().")
    try:
        values = _plain(x)
        check_array(values, dtype=None, ensure_all_finite=False, ensure_min_samples=0, input_name="X")
    except (TypeError, ValueError) as error:
        why = str(error).partition(":\n")[0].rstrip(".")  # without the whole array
        ways = " Reshape your data: for one row, X.reshape(1, -1); for dictionaries, pandas.DataFrame(X)."
        way_out = ways if "2D" in why else ""
        raise TableError(f"X must be a frame, an array or a list of rows. {why}.{way_out}") from error
    if columns is not None and values.shape[1] != len(columns):
        expected = f"TabularPipeline is expecting {len(columns)} features as input"
        raise TableError(f"X has {values.shape[1]} features, but {expected}.")
    names = list(columns or (f"x{i}" for i in range(values.shape[1])))
    frame = pd.DataFrame(values, columns=names, dtype=object if values.dtype == object else None)
    with suppress(OverflowError):  # pandas' own, for a whole number beyond 1e308
        return frame.infer_objects()
    return frame


def _plain(values: Any) -> NDArray[Any]:
    """Returns an array: of objects, missing ones None, where NumPy would change values."""
    if getattr(getattr(values, "dtype", None), "names", None):
        raise TypeError("A structured array is not supported: pass pandas.DataFrame(X), or one field as y")
    if isinstance(values, np.ma.MaskedArray):
        values = values.tolist()
    elif hasattr(values, "to_pylist"):  # Arrow: as float64, 2**53 + 1 would be 2**53 beside a missing one
        values = values.to_pylist()
    elif hasattr(values, "to_arrow"):  # Polars
        values = values.to_list()
    elif is_extension_array_dtype(getattr(values, "dtype", object)):
        values = present(pd.Series(values))
    return np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)


@dataclass(frozen=True, slots=True)
class Labels:
    """Classes in the order of the probabilities, as they were passed and as text."""

    classes: NDArray[Any]
    texts: LabelEncoder

    @classmethod
    def of(cls, y: pd.Series, task: Task) -> "Labels":
        """Collects the distinct values of ``y``, sorted (none for regression); LabelError if they have no order."""
        if task == "regression":
            return cls(np.array([]), LabelEncoder())
        labels = y.dropna()
        if infer_dtype(labels) in ("integer", "boolean"):  # scikit-learn's metrics do not take these as objects
            labels = labels.infer_objects()
        try:
            classes = np.unique(np.asarray(labels))
        except TypeError as error:
            raise LabelError("The labels are of several kinds, such as numbers and words; make them text.") from error
        return cls(classes, LabelEncoder(tuple(words(pd.Series(classes)))))


def read_labels(y: Any, rows: int) -> pd.Series:
    """Returns y as a series with one label per row. Raises LabelError where the number of labels is not ``rows``."""
    if y is None:
        raise LabelError("A pipeline requires y to be passed, but the target y is None.")
    try:
        values = _plain(y)
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.shape != (rows,):
            raise LabelError(f"y has the shape {values.shape}; X has {rows} rows, so it must be ({rows},).")
        return pd.Series(values, name="y")
    except (TypeError, OverflowError) as error:  # of pandas, for a whole number beyond 1e308
        raise LabelError(f"y cannot be read as labels ({error}).") from error


def read_numbers(y: pd.Series) -> NDArray[np.object_]:
    """Returns labels as numbers, None where missing. Raises LabelError for one that is no finite number."""
    number_N = label_numbers(y)
    wrong = [value for value, number in zip(present(y), number_N, strict=True) if value is not None and number is None]
    if wrong:
        count = f"{counted(len(wrong), 'value')} of {len(y):,} cannot be predicted as finite numbers"
        raise LabelError(f"y holds {wrong[0]!r}; {count}. Correct them, or make them missing (None).")
    return number_N


def read_weights(weights: Any, rows: int) -> NDArray[np.float64] | None:
    """Returns one weight per row, the largest 1, rounded to float32; None where all are equal; LabelError if wrong."""
    if weights is None:
        return None
    try:
        if np.asarray(weights).dtype.kind in "cMmUS":  # numpy would turn dates into days, and texts into numbers
            raise TypeError(f"it holds values of the type {np.asarray(weights).dtype}")
        weight_N = np.asarray(np.ma.filled(np.ma.asarray(weights).astype(np.float64), np.nan))
    except (TypeError, ValueError) as error:
        raise LabelError(f"sample_weight must be numbers, one per row ({error}).") from error
    if weight_N.shape != (rows,):
        raise LabelError(f"sample_weight has the shape {weight_N.shape}; X has {rows} rows, so it must be ({rows},).")
    wrong = weight_N[~(np.isfinite(weight_N) & (weight_N >= 0))]
    if len(wrong):
        raise LabelError(f"sample_weight holds {wrong[0]:g}; a weight is a number of 0 or more. 0 leaves a row out.")
    if not weight_N.any():
        raise LabelError(f"sample_weight is zero for every row, {NO_LOSS}")
    if (weight_N == weight_N[0]).all():
        return None
    return np.asarray(weight_N / weight_N.max(), dtype=np.float32).astype(np.float64)


def prepare_arrays(
    frame: pd.DataFrame,
    y: pd.Series,
    labels: Labels,
    settings: RunSettings,
    kinds: Mapping[str, Kind] | None = None,
    *,
    max_classes: int | None,
    withhold: bool = True,
    weights: NDArray[np.float64] | None = None,
) -> Prepared:
    """Splits off the validation rows and encodes the context; there are no test rows.

    Takes what ``read_rows``, ``read_labels`` and ``read_weights`` gave; ``max_classes`` is the model's limit, None for
    no limit. Without ``withhold`` there are no validation rows, and the context comes from ``show_all``.

    Raises LabelError where the labels cannot be predicted, and TableError where no column is left to predict from.
    """
    y = _checked(y, labels, settings)
    check_label(y.infer_objects().to_frame("y"), "y", max_classes=max_classes, task=settings.task, split=withhold)
    kinds = kinds_of_rows(frame, settings) if kinds is None else kinds
    _warn_of_text(frame, kinds)
    texts = words(y) if settings.task == "classification" else read_numbers(y)
    if not withhold:
        context = show_all(frame, texts, labels.texts, settings, kinds)
        none = context.rows[:0]
        return Prepared(frame, texts, Split(labelled_rows(texts), none, none, context.rows), context, kinds)
    split = split_table(frame, texts, settings, test_share=0.0)
    unseen = sorted({text for text in texts if isinstance(text, str)} - set(texts[split.train]))
    if unseen and settings.task == "classification":
        way_out = "Choose another split, or other rows."
        raise LabelError(f"The {settings.split} leaves the class {unseen[0]!r} without a training row. {way_out}")
    if weights is not None and not weights[split.train].any():
        raise LabelError(f"sample_weight is zero for all rows that train, {NO_LOSS}")
    context = make_context(frame, texts, split.context, kinds, names=labels.texts)
    return Prepared(frame, texts, split, context, kinds, weights)


def _checked(y: pd.Series, labels: Labels, settings: RunSettings) -> pd.Series:
    """Returns y, its decimals as floats for regression. Raises LabelError where it does not fit the task."""
    if settings.task == "regression":
        if len(y) < 2:
            raise LabelError(f"y has {len(y)} sample; regression needs at least two.")
        return pd.Series(numbers(y)) if infer_dtype(y) == "decimal" else y.infer_objects()
    if len(labels.classes) < 2:
        raise LabelError(f"y has {len(labels.classes)} class; two are needed to learn the difference.")
    measured = (isinstance(one, float | np.floating | Decimal) and one % 1 != 0 for one in labels.classes)
    if any(measured) or is_continuous(y):
        raise LabelError(
            f"y is continuous: {len(labels.classes):,} different numbers in {len(y):,} rows, and the pipeline predicts "
            "classes. Pass task='regression', make classes of it with pandas.qcut, or pass y as text."
        )
    return y


def show_all(
    frame: pd.DataFrame,
    labels: NDArray[np.object_],
    encoder: LabelEncoder,
    settings: RunSettings,
    kinds: Mapping[str, Kind],
) -> Context:
    """Returns the context that a pipeline predicts from: all labelled rows, or ``predict_context_rows`` of them."""
    rows, rng = labelled_rows(labels), np.random.default_rng([settings.seed, 2])
    most = settings.train.predict_context_rows or len(rows)
    shown = rows[sample_rows(strata_of(labels)[rows].astype(str), most, rng)]
    return make_context(frame, labels, shown, kinds, names=encoder)


def kinds_of_rows(frame: pd.DataFrame, settings: RunSettings) -> dict[str, Kind]:
    """Returns the kind of each column of a frame, without the column of a split by group."""
    group = settings.split_column if settings.split_by == "group" else None
    return {name: column_kind(frame[name]) for name in frame.columns if name != group}


def _warn_of_text(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> None:
    for name, kind in kinds.items():
        if kind == "text":
            different = len(set(words(frame[name])) - {None})
            why = f"its {different:,} different values are neither numbers nor dates, and too many for categories"
            warn(f"The column {name!r} is left out: {why}. Drop it, or pass X[column].astype('category').")
        elif kind in DATED and (dated := kind_of_texts(date_texts(frame[name]))) and dated.questions:
            asked = dated.questions[0].message.partition(".")[0]
            warn(f"{asked} in {name!r}. Pass pandas.to_datetime(X[column]) where that is wrong.")
