"""Fits one model to one table, for runs and pipelines.

In: settings and a prepared table. Out: events meanwhile; the model in its best state, and what was measured.
Candidate 0 is zero-shot, so the result is never worse on the validation rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tabtune_core.data.task import Prepared
from tabtune_core.devices import own_chance
from tabtune_core.errors import Cancelled, Waiting
from tabtune_core.events import RunFinished
from tabtune_core.training.evaluate_phase import evaluate
from tabtune_core.training.notices import endings
from tabtune_core.training.session import Environment, Plan, Session, open_session
from tabtune_core.training.train_phase import train_model
from tabtune_core.training.zero_shot import Predictions, score_zero_shot


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model in its best state."""

    session: Session
    """Holds the model, its adapter and the table."""
    predictions: Predictions
    """Predictions of the held-out rows."""
    zero_shot: Predictions
    """Predictions before training; ``predictions`` itself if no trained state was better."""
    result: RunFinished
    """The result before a later step adds the adapter package."""


def fit(plan: Plan, prepare_table: Callable[[], Prepared], environment: Environment) -> Fitted:
    """Loads the model, scores it without training, trains it and scores it again.

    Preparing the table is measured as part of loading.

    Raises:
        Cancelled: a person asked for the end without a result.
        Waiting: training pauses at one of the environment's rungs.
        TabTuneError: what was asked cannot be done; the text says why and what to do.
    """
    with own_chance(plan.device, plan.settings.seed):
        session = open_session(plan, prepare_table, environment)
        zero_shot = score_zero_shot(session)
        trained = train_model(session, zero_shot)
        if trained.result.outcome == "cancelled" or environment.stop_request() == "cancel":
            raise Cancelled("The run was cancelled; only its log is kept.")
        if trained.result.outcome == "waiting":
            raise Waiting("Training pauses at a rung.")
        chosen_step = trained.result.best_step
        predictions, result = evaluate(session, zero_shot, trained)
    for note in endings(plan.settings, session.plan.steps, trained.result, result, chosen_step):
        environment.emit(note)
    return Fitted(session, predictions, zero_shot.predictions if result.best_step else predictions, result)
