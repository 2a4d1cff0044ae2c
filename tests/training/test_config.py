import pytest

from waveflow.training import TrainConfig
from waveflow.training.config import known_keys

GIVEN = {"data": {"manifest": "corpus"}, "train": {"out": "run"}}


def with_setting(name: str, value: object) -> dict:
    section, key = name.split(".")
    return {**GIVEN, section: {**GIVEN.get(section, {}), key: value}}


def test_what_is_left_out_takes_its_default_and_the_round_trip_through_plain_values_is_exact():
    config = TrainConfig.from_dict(with_setting("optimizer.lr", "3e-4"))
    assert config.optimizer.lr == 3e-4
    assert config.train.steps == TrainConfig().train.steps
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({"optimiser": {"lr": 1}}, "optimizer"),
        ({"train": {"stepz": 1}}, "train.steps"),
        ({"train": {"lr": 1}}, "optimizer.lr"),
        ({"data": {"manifset": "a"}}, "data.manifest"),
        ({"modle": "lapglow"}, "model"),
    ],
)
def test_an_unknown_key_fails_with_the_nearest_valid_name(values, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        TrainConfig.from_dict(values)


def test_every_setting_is_known_by_its_dotted_name():
    assert {"model", "model_config", "data", "data.segment", "train.reversible", "schedule.warmup"} <= set(known_keys())


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("train.steps", 0, "train.steps is 0, expected at least 1"),
        ("train.steps", "many", "train.steps: Value 'many'"),
        ("train.bf16", "perhaps", "train.bf16"),
        ("train.ema", 1.5, "train.ema is 1.5, expected 0 to 1"),
        ("optimizer.lr", float("nan"), "optimizer.lr is nan"),
        ("optimizer.lr", float("inf"), "optimizer.lr is inf, expected finite"),
        ("train.validate_seconds", float("inf"), "train.validate_seconds is inf"),
        ("optimizer.betas", [0.9], "optimizer.betas .* two numbers"),
        ("optimizer.betas", [0.9, 1], "optimizer.betas is .*, expected numbers from 0 to below 1"),
        ("objective.sigma", -1, "objective.sigma is -1.0, expected at least 0"),
        ("train.seed", 2**64, "train.seed is 18446744073709551616, expected 0 to"),
        ("train.out", "", "train.out is not given"),
        ("data.gain_db", [float("nan"), 6], "data.gain_db is .*nan"),
        ("data.gain_db", [6, -12], "lower level first"),
        ("schedule.shape", "linear", "'cosine', 'constant'"),
        ("schedule.warmup", 10**6, "more than train.steps"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(name, value, complaint):
    with pytest.raises(ValueError, match=complaint):
        TrainConfig.from_dict(with_setting(name, value))


def test_a_missing_corpus_is_asked_for():
    with pytest.raises(ValueError, match=r"add data\.manifest=PATH"):
        TrainConfig.from_dict({"train": {"out": "run"}})
