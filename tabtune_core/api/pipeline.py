"""A model for rows in memory, with the interface of scikit-learn: fit, predict, evaluate, save, load.

In: X and y. Out: predictions, and everything that a run reports: the events, the adapted layers, the scores.
"""

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import nn
from tqdm import tqdm

from tabtune_core.api.pipeline_adapters import BASE, WithAdapters, plain_copy
from tabtune_core.api.pipeline_file import Merged, PipelineContent, PipelineFacts, read_pipeline, write_pipeline
from tabtune_core.api.tuning_params import changed_params, read_params, write_params
from tabtune_core.data.arrays import (
    Labels,
    kinds_of_rows,
    prepare_arrays,
    read_labels,
    read_numbers,
    read_rows,
    read_weights,
    show_all,
)
from tabtune_core.data.encoding import count_features
from tabtune_core.data.prediction_rows import labels_like
from tabtune_core.data.task import Context
from tabtune_core.data.values import places, present, words
from tabtune_core.devices import resolve_device
from tabtune_core.engine.adapted_model import open_base, predict_rows
from tabtune_core.errors import LabelError, PipelineError, SettingError, warn
from tabtune_core.events import Evaluated, Event, Note, PhaseStarted, RunFinished, RunPlanned, StepDone
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.metrics import METRICS, Metric, score_all
from tabtune_core.models.adaptation import put_on
from tabtune_core.models.base import BaseModel, with_module
from tabtune_core.models.catalogue import get_card
from tabtune_core.scratch import scratch_folder
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.settings.serialization import from_values
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.meters import MemoryMeter, open_nvml
from tabtune_core.training.notices import rows_shown
from tabtune_core.training.session import Environment, Plan, Session
from tabtune_core.wording import counted


class TabularPipeline(WithAdapters, BaseEstimator):  # type: ignore[misc]
    """A tabular foundation model that is tuned on the rows of ``fit`` and uses them as context rows when it predicts.

    It is a scikit-learn classifier, or with ``task='regression'`` a regressor.

    Examples:
        >>> TabularPipeline(tuning_params={"epochs": 3}).get_params()["tuning_strategy"]
        'peft'
    """

    def __init__(
        self,
        model_name: str = "TabICL",
        tuning_strategy: str = "peft",
        tuning_params: dict[str, Any] | None = None,
        task: str = "classification",
    ) -> None:
        """Keeps the arguments; ``fit`` checks them.

        Args:
            model_name: a family such as 'TabICL', or a model of the catalogue such as 'tabicl-mini'.
            tuning_strategy: 'peft' trains a LoRA adapter, 'base-ft' trains every weight, 'inference' trains nothing.
            tuning_params: device, epochs or steps, learning_rate, peft_config and so on; see ``api.tuning_params``.
            task: 'classification' predicts classes, 'regression' predicts numbers.
        """
        self.model_name = model_name
        self.tuning_strategy = tuning_strategy
        self.tuning_params = tuning_params
        self.task = task

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, verbose: bool = False) -> Self:
        """Trains on most of the rows, chooses the best checkpoint on the rest, and keeps all of them as context rows.

        'inference' trains nothing and withholds no rows. The chosen checkpoint is never worse on the validation rows
        than zero-shot; for both scores, which are in ``result``, the context is the other rows alone. Afterwards
        the context is made again from all rows with a label, or from a sample of ``predict_context_rows``.

        Args:
            X: rows, as a frame of pandas, Polars or Arrow, an array or a list. Text that is all numbers or all dates is
                read as such; free text is left out, and a ``TableWarning`` names the column.
            y: a class or number for each row; rows without one are left out.
            sample_weight: weight of each row in the training loss, multiplied by ``class_weights``; default: equal.
                It affects neither validation scores nor context rows.
            verbose: shows a bar on stderr: the phase, the step, its loss and the best validation score.

        Raises:
            TabTuneError: the settings, the rows or the device cannot be used; the text says why.
        """
        settings = self.settings()
        withhold = settings.strategy != "inference"
        if sample_weight is not None and not withhold:
            idle = "sample_weight changes nothing with tuning_strategy 'inference', which trains nothing"
            raise SettingError(f"{idle}; leave it out, or choose 'peft'.")
        with _bar(METRICS[settings.selection_metric]) if verbose else nullcontext() as watch:
            return self._fit(X, y, settings, withhold=withhold, sample_weight=sample_weight, watch=watch)

    def _fit(
        self,
        X: Any,
        y: Any,
        settings: RunSettings,
        *,
        withhold: bool,
        sample_weight: Any = None,
        watch: Callable[[Event], None] | None = None,
    ) -> Self:
        """See ``fit``; a leaderboard withholds rows from zero-shot too. ``watch`` gets the events as they arrive."""
        frame, device, events = read_rows(X), resolve_device(settings.device), list[Event]()

        def emit(event: Event) -> None:
            events.append(event)
            if watch:
                watch(event)

        y_N = read_labels(y, len(frame))
        labels, weights = Labels.of(y_N, settings.task), read_weights(sample_weight, len(frame))
        kinds = kinds_of_rows(frame, settings)
        plan = Plan.of(settings, features=count_features(kinds, None), device=device)
        with scratch_folder() as folder, MemoryMeter(device, emit, nvml=open_nvml(device)) as meter:
            prepare = partial(prepare_arrays, frame, y_N, labels, plan.shown, kinds, withhold=withhold, weights=weights)
            prepare = partial(prepare, max_classes=plan.card.family.class_limit)
            fitted = fit(plan, prepare, Environment(meter=meter, folder=folder, emit=emit))
        session = fitted.session
        table, context, scored_rows = session.table, session.table.context, None
        if withhold:
            scored_rows = len(context.y_C)
            context = show_all(table.frame, table.labels, labels.texts, plan.shown, kinds)
        empty, shown = sum(label is None for label in table.labels), len(context.y_C)
        events.append(rows_shown(len(table.labels) - empty, scored_rows, shown))
        events.append(dataclasses.replace(fitted.result, scored_context_rows=scored_rows, final_context_rows=shown))
        self._adopt(session, settings)
        classes = labels.classes if settings.task == "classification" else None
        self._show(context, events, tuple(frame.columns), named=isinstance(X, pd.DataFrame), classes=classes)
        if empty:
            warn(f"Left out of the fit, because y is missing there: {counted(empty, 'row')} of {len(frame):,}.")
        for note in context.encoder.unread(frame):
            warn(note)
        return self

    def _adopt(self, session: Session, settings: RunSettings) -> None:
        """Takes over the model and the adapters of a training, and keeps the parameters that it had."""
        session.model.module.requires_grad_(False).eval()
        self._params, rate = copy.deepcopy(self.get_params()), settings.train.learning_rate  # set_params may follow
        used = {} if rate is None else {"learning_rate": rate}  # a later version may have another default
        self._params["tuning_params"] = changed_params(self._params["tuning_params"], used)
        self._base, self._adapters = with_module(session.model, session.adapters.base), session.adapters
        self._lora = dict.fromkeys(session.adapters.names, settings.lora)

    def _show(
        self,
        context: Context,
        history: Sequence[Event],
        columns: Sequence[Any],
        *,
        named: bool,
        classes: NDArray[Any] | None,
        merged: Merged = "",
    ) -> None:
        """Sets what a fit learns beside its model: context rows and the attributes of scikit-learn."""
        self._context, self._history, self._merged = context, tuple(history), merged
        self._columns, self.n_features_in_ = tuple(columns), len(columns)
        for earlier in ("classes_", "feature_names_in_"):
            self.__dict__.pop(earlier, None)
        if classes is not None:
            self.classes_ = classes
        if named:
            self.feature_names_in_ = np.array(self._columns, dtype=object)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles a fitted pipeline as ``save`` writes it, and scikit-learn's requests for metadata beside it.

        The weights of the base are looked up when it is unpickled.
        """
        if not hasattr(self, "_base"):
            return super().__reduce_ex__(protocol)
        with scratch_folder() as folder:
            self.save(file := folder / "pipeline.zip")
            requests = {name: value for name, value in vars(self).items() if name == "_metadata_request"}
            return _unpickled, (type(self), file.read_bytes(), self.get_params()), requests

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inputs, tags.target_tags.required = tags.input_tags, True
        inputs.allow_nan = inputs.string = inputs.categorical = True
        if self.task == "regression":
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        else:
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags

    def set_params(self, **params: Any) -> Self:
        """Sets parameters as in scikit-learn; ``tuning_params__lora_rank`` and so on name one of the settings."""
        inner = "tuning_params__"
        super().set_params(**{name: value for name, value in params.items() if not name.startswith(inner)})
        if changes := {name.removeprefix(inner): value for name, value in params.items() if name.startswith(inner)}:
            self.tuning_params = changed_params(self.tuning_params, changes)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Returns the accuracy, or R² for regression, as scikit-learn defines them."""
        mixin = RegressorMixin if self.task == "regression" else ClassifierMixin
        check_is_fitted(self)
        return float(mixin.score(self, X, self._own_labels(y, len(y)) if self._merged else y, sample_weight))

    def settings(self) -> RunSettings:
        """Returns the checked settings; SettingError names the argument, its value and what is allowed."""
        return read_params(self.model_name, self.tuning_strategy, self.tuning_params, self.task)

    @property
    def history(self) -> tuple[Event, ...]:
        """The events of the fit: the plan, notes, steps, evaluations on the validation rows, memory, the result."""
        check_is_fitted(self)
        return self._history

    @property
    def result(self) -> RunFinished:
        """Scores on the validation rows before and after training, seconds and bytes.

        The scores were measured with ``scored_context_rows`` context rows, all of them training rows; predictions use
        ``final_context_rows``. Without validation rows there are no scores, and ``scored_context_rows`` is None.
        """
        last = self.history[-1]
        assert isinstance(last, RunFinished)
        return last

    @property
    def context_rows_(self) -> NDArray[np.int64]:
        """Positions (from 0) of the context rows of predictions, in the X of ``fit`` or in the table of the run."""
        check_is_fitted(self)
        return self._context.rows

    @available_if(lambda pipeline: pipeline.task != "regression")  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Returns probabilities ``(rows, classes)``, in the order of ``classes_``."""
        return self._predict(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Returns the most probable class, or the predicted number, of each row."""
        return self._answers(X, self._fitted.module)

    def predict_each(self, X: Any) -> pd.DataFrame:
        """Predicts with the base alone and with every adapter, one column each: 'base', then the adapters by name."""
        columns = {name or BASE: self._answers(X, self._fitted.module_of(name)) for name in (None, *self.adapters)}
        return pd.DataFrame(columns, index=X.index if isinstance(X, pd.DataFrame) else None)

    def _answers(self, X: Any, module: nn.Module) -> NDArray[Any]:
        predicted = self._predict(X, module)
        return self.classes_[predicted.argmax(axis=1)] if predicted.ndim == 2 else predicted

    def _predict(self, X: Any, module: nn.Module | None = None) -> NDArray[Any]:
        check_is_fitted(self)
        frame = read_rows(X, self._columns, self._context.encoder.columns)
        model = with_module(self._base, module or self._adapters.module)
        for note in self._context.encoder.unread(frame):
            warn(note)
        return predict_rows(model, frame, self._context, views=read_params(**self._params).train.views)

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """Returns every metric of the task by name, on the rows that have a label.

        Raises:
            LabelError: a class was not in the fit, a value is not a number in regression, or no row has a label.
        """
        predicted = self._predict(X)
        y_N = self._own_labels(y, len(predicted))
        labels = present(y_N) if predicted.ndim == 2 else read_numbers(y_N)
        labelled = [place for place, label in enumerate(labels) if label is not None]
        if not labelled:
            none = f"y has no label in {counted(len(labels), 'row')}, so there is nothing to score"
            raise LabelError(f"{none}. Pass rows that have one.")
        ids_N = self._context.labels.transform([labels[place] for place in labelled])
        return score_all(ids_N, predicted[labelled], rarer=self._context.rarer)

    def _own_labels(self, y: Any, rows: int) -> pd.Series:
        """Returns labels as the classes name them, also where the run halved numbers or merged rare classes."""
        y_N, classes = read_labels(y, rows), self._context.labels.classes
        if not self._merged or set(words(y_N.dropna())) <= set(classes):
            return y_N
        halves, fewest = self._merged == "halves", int(self._merged == "rare")
        run = RunSettings(dataset="-", target="y", split_at_median=halves, group_rare_classes=fewest)
        return pd.Series(labels_like(y_N.to_frame("y"), run, classes), name="y")

    def save(self, path: str | Path) -> None:
        """Writes one zip of safetensors and JSON: all adapters, the context rows, and the SHA-256 of the base.

        A merged adapter is active but not merged when the file is loaded.

        Raises:
            PipelineError: the classes are neither text nor numbers nor booleans.
        """
        check_is_fitted(self)
        if self._params["tuning_strategy"] == "base-ft":
            state = self.model.state_dict()
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        else:
            each = [self._adapters.tensors(name) for name in self.adapters]
            tensors = {f"{i}/{key}": value for i, own in enumerate(each) for key, value in own.items()}
        of_classes: dict[str, Any] = {}
        if hasattr(self, "classes_"):
            kind = self.classes_.dtype
            of_classes["classes"] = tuple(self.classes_.tolist())
            of_classes["classes_type"] = "str" if kind.kind == "U" else kind.name
        facts = PipelineFacts(
            params=self._params,
            base=self._base.source,
            columns=self._columns,
            named=hasattr(self, "feature_names_in_"),
            adapters={name: dataclasses.asdict(self._lora[name]) for name in self.adapters},
            active_adapter=self.active_adapter,
            merged=self._merged,
            **of_classes,
        )
        write_pipeline(Path(path), PipelineContent(facts, tensors, self._context, self._history))

    @classmethod
    def load(cls, path: str | Path, *, checkpoint: str | Path | None = None, device: str | None = None) -> Self:
        """Opens a saved pipeline; no code in the file is run.

        Args:
            path: the file.
            checkpoint: weights of the base, if they are not in the package or the Hugging Face cache.
            device: device for predictions; by default the one in the saved settings.

        Raises:
            PipelineError: the file is not a saved pipeline, or is damaged.
            AdapterError: the base is not the one that was tuned, or an adapter in the file does not fit it.
            CheckpointError: the base's weights cannot be found.
        """
        content, name = read_pipeline(Path(path)), Path(path).name
        facts, again = content.facts, " Save it again, or copy the file again from where it was made."
        with refused_as(PipelineError, f"{name} is not a saved pipeline", again):
            pipeline = cls(**facts.params)
            pipeline._params = pipeline.get_params()
            settings = dataclasses.replace(pipeline.settings(), model=facts.base.model)
            loras = {adapter: from_values(LoraSettings, lora, "lora.") for adapter, lora in facts.adapters.items()}
            card = get_card(settings.model)
            classes = np.array(facts.classes, dtype=facts.classes_type) if settings.task == "classification" else None
            named = content.context.labels.classes
            if classes is not None and places(classes, named).tolist() != [*range(len(named))]:
                raise Damaged("it names other classes than its rows have, or in another order")
            if bool(facts.classes) != (settings.task == "classification"):
                raise Damaged(f"it is for {settings.task} but names {len(facts.classes)} classes")
        checkpoint, device = checkpoint or settings.checkpoint, device or settings.device
        base = open_base(card.name, settings.task, facts.base.sha256, checkpoint=checkpoint, device=device)
        if settings.strategy == "base-ft":
            with refused_as(PipelineError, f"{name} holds other weights than {card.title} has", " It is damaged."):
                base.module.load_state_dict(content.tensors)
        pipeline._base, pipeline._adapters, pipeline._lora = base, AdapterSet(base.module), loras
        for i, (adapter, lora) in enumerate(loras.items()):
            own = {key: value for key, value in content.tensors.items() if key.startswith(f"{i}/")}
            tensors = {key.partition("/")[2]: value for key, value in own.items()}
            put_on(pipeline._adapters, base, lora, tensors, adapter)
        pipeline._adapters.set(facts.active_adapter)
        show = partial(pipeline._show, named=facts.named, classes=classes, merged=facts.merged)
        show(content.context, content.history, facts.columns)
        return pipeline


@contextmanager
def _bar(metric: Metric) -> Iterator[Callable[[Event], None]]:
    """Yields what shows the events of a fit on stderr: one bar, with the loss and the best validation score."""
    facts = dict[str, str]()
    with tqdm(total=0, file=sys.stderr, unit="step", desc="load") as bar:

        def take(event: Event) -> None:
            match event:
                case RunPlanned():
                    bar.total = event.steps
                case PhaseStarted():
                    bar.set_description(event.phase)
                case StepDone():
                    facts["loss"] = f"{event.loss:.4f}"
                    bar.update(event.step - bar.n)
                case Evaluated(split="validation", best=True):
                    facts[f"best {metric.name}"] = metric.text(event.scores[metric.name])
                case Note(severity="warning"):
                    bar.write(f"Warning: {event.text}", file=sys.stderr)
            bar.set_postfix(facts, refresh=False)

        yield take


def _unpickled(kind: type[TabularPipeline], saved: bytes, params: dict[str, Any]) -> TabularPipeline:
    """The inverse of ``TabularPipeline.__reduce_ex__``; ``params`` may have been set since the fit."""
    with scratch_folder() as folder:
        (file := folder / "pipeline.zip").write_bytes(saved)
        pipeline = kind.load(file)
    pipeline.set_params(**params)
    return pipeline


def pipeline_of_run(
    base: BaseModel,
    settings: RunSettings,
    adapters: Mapping[str, Mapping[str, torch.Tensor]],
    context: Context,
    columns: Sequence[str],
    history: Sequence[Event],
) -> TabularPipeline:
    """Makes a fitted pipeline from what a run stored; its LoRA settings apply to each adapter, and the last is active.

    ``context`` are the run's own context rows, without the validation and test rows, so that it gives the run's
    predictions. Rows to predict must have the ``columns``. The last event of ``history`` is the result.
    """
    pipeline = TabularPipeline(**write_params(settings))
    pipeline._params = copy.deepcopy(pipeline.get_params())
    pipeline._base, pipeline._adapters = base, AdapterSet(base.module)
    pipeline._lora = dict.fromkeys(adapters, settings.lora)
    for name, tensors in adapters.items():
        put_on(pipeline._adapters, base, settings.lora, tensors, name)
    classes = np.array(context.labels.classes, dtype=object) if context.labels.classes else None
    merged: Merged = "halves" if settings.split_at_median else "rare" if settings.group_rare_classes else ""
    pipeline._show(context, history, columns, named=True, classes=classes, merged=merged)
    return pipeline


def merge_lora_weights(model: nn.Module | TabularPipeline) -> nn.Module:
    """Returns a plain copy of an adapted model with the update in its weights, in the upstream package's own schema.

    Raises:
        AdapterError: the model has no adapter.
    """
    return plain_copy(model.model if isinstance(model, TabularPipeline) else model)
