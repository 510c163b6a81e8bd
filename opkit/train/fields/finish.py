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
from opkit.train.fields.setup import TrainingSetup
from opkit.train.loop.loop import State


def write_bundle(
    directory: RunDirectory,
    setup: TrainingSetup,
    model: PhysicalModel,
    state: State,
    seed: int,
) -> None:
    """Measure the best weights and write them as a bundle, with what is wrong."""
    axes = setup.stated.axes
    with DataFile(setup.data, trusted=True) as file:
        coordinates = file.header.coordinates
        split = "test" if "test" in file.header.splits else "validation"
        measurable = split in file.header.splits
    config = BundleConfig(
        operator=setup.recipe.operator,
        options=setup.recipe.model,
        shape=setup.shape_record(),
        axes=setup.axes,
        inputs=setup.inputs,
        outputs=setup.outputs,
        boundary=setup.boundary,
        static=setup.static,
        parameters=setup.parameters,
        series=setup.series,
        times=setup.times,
        static_channels=sum(v.channels for v in setup.static),
        axis_units={a: s.units for a, s in axes.items() if s.units is not None},
        axis_starts={
            a: float(coordinates[a].values[0]) for a in setup.axes if a in coordinates
        },
        time_step=axes["time"].step if "time" in axes else None,
        case=setup.case,
        recipe=setup.recipe,
        provenance=Provenance(
            data=setup.data.name,
            data_hash=setup.data_hash,
            more_data=setup.more,
            train_samples=len(setup.train),
            validation_samples=len(setup.validation),
            validation_source=setup.validation_source,
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
    rows: list[Score] = []
    surrogate = build(config, weights)
    if measurable:
        rows = scores.table(surrogate, setup.data, split)
    calibration = calibrate(surrogate, setup)
    # weights that go on with more data keep the normalisers they were trained with
    stale = [] if setup.more else check_normalisers(model, setup)
    flags = (*stale, *_flags(rows, setup))
    config = config.model_copy(
        update={
            "scores": tuple(rows),
            "flags": flags,
            "calibration": calibration.record,
        }
    )
    tensors = {**weights, **calibration.tensors()}
    bundle.write(directory.bundle, config, tensors, card(config))


def _flags(rows: list[Score], setup: TrainingSetup) -> tuple[str, ...]:
    flags = list(baselines.flags(rows))
    trained = setup.shape.shape
    own = {r.predictor: r.relative_l2 for r in rows if r.resolution == trained}
    expected = setup.recipe.expectation
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
