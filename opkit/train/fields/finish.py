"""The end of training: scores, flags, and the bundle."""

from __future__ import annotations

from opkit.base.environment import command, environment
from opkit.datasets.read import DataFile
from opkit.evaluate import baselines, scores
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.bundle.record import BundleConfig, Provenance, Score
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.surrogate.surrogate import build
from opkit.train.fields.calibrate import calibrate
from opkit.train.fields.card import card
from opkit.train.fields.model import check_normalisers
from opkit.train.fields.problem import Problem
from opkit.train.loop.loop import State


def write_bundle(
    directory: RunDirectory,
    problem: Problem,
    model: PhysicalModel,
    state: State,
    seed: int,
) -> None:
    """Measure the best weights and write them as a bundle, with what is wrong."""
    axes = problem.stated.axes
    config = BundleConfig(
        operator=problem.recipe.operator,
        options=problem.recipe.model,
        shape=problem.shape_record(),
        axes=problem.axes,
        inputs=problem.inputs,
        outputs=problem.outputs,
        boundary=problem.boundary,
        static=problem.static,
        parameters=problem.parameters,
        static_channels=sum(v.channels for v in problem.static),
        axis_units={a: s.units for a, s in axes.items() if s.units is not None},
        time_step=axes["time"].step if "time" in axes else None,
        case=problem.case,
        recipe=problem.recipe,
        provenance=Provenance(
            data=problem.data.name,
            data_hash=problem.data_hash,
            more_data=problem.more,
            train_samples=len(problem.train),
            validation_samples=len(problem.validation),
            validation_source=problem.validation_source,
            seed=seed,
            epochs=state.epoch,
            best_epoch=state.best_epoch,
            best_validation=state.best_value,
            parameters=model.parameter_count,
            seconds=state.seconds,
            environment=environment(),
            command=command(),
        ),
    )
    weights = state.best_weights
    with DataFile(problem.data, trusted=True) as file:
        split = "test" if "test" in file.header.splits else "validation"
        measurable = split in file.header.splits
    rows: list[Score] = []
    surrogate = build(config, weights)
    if measurable:
        rows = scores.table(surrogate, problem.data, split)
    calibration = calibrate(surrogate, problem)
    # weights that go on with more data keep the normalisers they were trained with
    stale = [] if problem.more else check_normalisers(model, problem)
    flags = (*stale, *_flags(rows, problem))
    config = config.model_copy(
        update={
            "scores": tuple(rows),
            "flags": flags,
            "calibration": calibration.record,
        }
    )
    tensors = {**weights, **calibration.tensors()}
    bundle.write(directory.bundle, config, tensors, card(config))


def _flags(rows: list[Score], problem: Problem) -> tuple[str, ...]:
    flags = list(baselines.flags(rows))
    trained = problem.shape.shape
    own = {r.predictor: r.relative_l2 for r in rows if r.resolution == trained}
    expected = problem.recipe.expectation
    if (
        expected is not None
        and own
        and expected.metric == "relative_l2"
        and expected.resolution in (None, trained[-1])
        and own["surrogate"] > 1.5 * expected.value
    ):
        flags.append(
            f"relative L2 {own['surrogate']:.3g} misses the recipe's "
            f"{expected.value:.3g} ({expected.source})"
        )
    return tuple(flags)
