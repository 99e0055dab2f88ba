"""The last phase: compares the best trained state with zero-shot on the validation rows, and scores the better one.

In: a session, zero-shot and what was trained. Out: predictions of the held-out rows, and the result of the run.
"""

from collections.abc import Mapping

from tabtune_core.data.splits import SplitName
from tabtune_core.events import Evaluated, RunFinished
from tabtune_core.metrics import METRICS
from tabtune_core.training.clock import OwnClock
from tabtune_core.training.session import Session
from tabtune_core.training.train_phase import Trained
from tabtune_core.training.zero_shot import Predictions, ZeroShot

AS_TRAINED = (
    *("outcome", "best_step", "steps_done", "stopped_early", "ended_by"),
    *("used_rows", "skipped_rows", "skipped_episodes", "resumed_steps"),
)
"""Fields of the result that the training has too."""


def evaluate(session: Session, zero_shot: ZeroShot, trained: Trained) -> tuple[Predictions, RunFinished]:
    """Puts the model into the better state; returns that state's predictions of the held-out rows, and the result."""
    held_out, scorer = session.rows.held_out, session.rows.scorer
    with session.environment.meter.phase("evaluate"):
        predictions, seconds, clock = Predictions(), 0.0, OwnClock.of_this_thread()
        for split, rows in held_out.items():
            clock.start()
            with session.prefix.use(split == "validation" and "test" in held_out):  # the timed one is computed in full
                predictions[split] = scorer.predict(session.model, rows.x_NF)
            seconds = clock.seconds  # of the last split with rows: the test rows, if there are any
        predictions = _returned(session, zero_shot, trained, predictions)
        scores = {split: rows.score(predictions[split]) for split, rows in held_out.items()}
        if "test" in scores:
            step = trained.result.best_step
            session.environment.emit(Evaluated(step, "test", scores["test"], False, trained.seconds))
    session.model.module.eval()
    return predictions, _result(session, zero_shot, trained, scores, seconds)


def _returned(session: Session, zero_shot: ZeroShot, trained: Trained, predictions: Predictions) -> Predictions:
    """Returns the predictions of the state that is better with all context rows, and restores that state."""
    if trained.best is None:
        return predictions
    metric, rows = session.settings.selection_metric, session.rows.held_out["validation"]
    new, old = (rows.score(predicted["validation"])[metric] for predicted in (predictions, zero_shot.predictions))
    better = METRICS[metric].better(new, old)
    if not better:
        trained.best.restore(first=True)
        trained.result.best_step = 0
    return predictions if better else zero_shot.predictions


def _result(
    session: Session,
    zero_shot: ZeroShot,
    trained: Trained,
    scores: Mapping[SplitName, dict[str, float]],
    predict_seconds: float,
) -> RunFinished:
    """Makes the result that the leaderboard shows; a later step adds the adapter package."""
    meter, plan, result = session.environment.meter, session.plan, trained.result
    growth = {phase: meter.growth_bytes.get(phase) if scores else None for phase in ("train", "evaluate")}
    return RunFinished(
        **{name: getattr(result, name) for name in AS_TRAINED},
        planned_steps=plan.steps,
        validation=scores.get("validation", {}),
        test=scores.get("test", {}),
        zero_shot_validation=zero_shot.scores.get("validation", {}),
        zero_shot_test=zero_shot.scores.get("test", {}),
        train_seconds=trained.seconds,
        predict_seconds=predict_seconds,
        train_wall_seconds=trained.wall_seconds,
        shared_saved_seconds=trained.saved_seconds,
        peak_memory_bytes=meter.highest_bytes,
        growth_memory_bytes=growth["train"],
        predict_growth_memory_bytes=growth["evaluate"],
        memory_meter=meter.speaks,
        trainable_parameters=plan.trainable_parameters,
        total_parameters=plan.total_parameters,
        adapter_bytes=None,
        context_sha256=session.table.context.sha256,
        shared_made=session.arrays.made,
        shared_reused=session.arrays.reused,
        context_rows=plan.context_rows,
        train_context_rows=plan.train_context_rows,
    )
