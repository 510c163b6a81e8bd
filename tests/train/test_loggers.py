"""Metrics go to the loggers that are named; the clients of services are stand-ins."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from opkit.errors import MissingExtraError, OpkitInputError
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import train


@pytest.fixture
def calls(monkeypatch):
    noted: list[tuple] = []

    def note(name):
        return lambda *args, **kwargs: noted.append((name, args, kwargs))

    mlflow = ModuleType("mlflow")
    for name in ("start_run", "log_params", "log_metrics", "end_run"):
        setattr(mlflow, name, note(name))
    wandb = ModuleType("wandb")
    run = SimpleNamespace(log=note("log"), finish=note("finish"))
    wandb.init = lambda **kwargs: noted.append(("init", (), kwargs)) or run
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return noted


def test_every_epoch_reaches_mlflow_and_wandb_and_both_are_closed(
    tmp_path, make_data, calls
):
    overrides = ["training.epochs=2", "training.loggers=[mlflow, wandb]"]
    train(make_data(), tmp_path / "run", operator="fno", overrides=overrides)
    rows = RunDirectory(tmp_path / "run").metrics()
    metrics = [c for c in calls if c[0] == "log_metrics"]
    assert [c[2]["step"] for c in metrics] == [1, 2]
    assert [c[1][0]["validation"] for c in metrics] == [r["validation"] for r in rows]
    assert [c[2]["step"] for c in calls if c[0] == "log"] == [1, 2]
    (params,) = [c[1][0] for c in calls if c[0] == "log_params"]
    assert params["training.epochs"] == "2" and params["operator"] == "fno"
    assert [c[0] for c in calls][-2:] == ["end_run", "finish"]


def test_loggers_are_closed_when_training_fails(tmp_path, make_data, calls):
    overrides = ["training.learning_rate=1e4", "training.optimiser=sgd"]
    overrides += ["training.schedule=constant", "training.loggers=[mlflow]"]
    with pytest.raises(ArithmeticError):
        train(make_data(), tmp_path / "run", operator="fno", overrides=overrides)
    assert calls[-1][0] == "end_run"


def test_tensorboard_holds_the_metrics(tmp_path, make_data):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    overrides = ["training.epochs=3", "training.loggers=[tensorboard]"]
    train(make_data(), tmp_path / "run", operator="fno", overrides=overrides)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    values = [event.value for event in events.Scalars("validation")]
    rows = RunDirectory(tmp_path / "run").metrics()
    assert values == pytest.approx(
        [row["validation"] for row in rows], rel=1e-6
    )  # fp32


def test_a_logger_that_is_missing_or_unknown_is_said(tmp_path, make_data, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    data = make_data()
    with pytest.raises(MissingExtraError, match=r"opkit\[mlflow\]"):
        overrides = ["training.loggers=[mlflow]"]
        train(data, tmp_path / "run", operator="fno", overrides=overrides)
    with pytest.raises(OpkitInputError, match="tensorboard"):
        overrides = ["training.loggers=[tensorbord]"]
        train(data, tmp_path / "run", operator="fno", overrides=overrides)
    assert not (tmp_path / "run").exists()
