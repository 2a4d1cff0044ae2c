from pathlib import Path

import pytest
from conftest import DATA

from waveflow.training.recipe import compose, find_recipe

RECIPES = DATA.parents[1] / "recipes"
TRAINING = [path for path in sorted(RECIPES.glob("*/*.yaml")) if "- train\n" in path.read_text()]
GIVEN = ["data.manifest=corpus", "train.out=run"]


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_training_recipe_composes(path):
    assert compose(path, GIVEN).data.manifest == "corpus"


def test_overrides_win_over_the_recipe_and_the_recipe_over_the_schema(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "defaults: [train, _self_]\nmodel: waveglow-64\ntrain: {steps: 700}\noptimizer: {lr: 5e-4}\n"
    )
    config = compose(tmp_path, [*GIVEN, "train.steps=900", "data.gain_db=[-3,3]"])
    assert (config.model, config.train.steps, config.optimizer.lr) == ("waveglow-64", 900, 5e-4)
    assert config.data.gain_db == [-3, 3]
    assert config.train.keep == 2


def test_a_value_may_refer_to_another(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "defaults: [train, _self_]\ntrain: {steps: 700, validate_every: '${train.steps}'}\n"
    )
    assert compose(tmp_path, [*GIVEN, "train.steps=900"]).train.validate_every == 900


def test_settings_of_the_model_need_no_plus_sign():
    config = compose(None, [*GIVEN, "model_config.n_flows=3", "model_config.mel=hifigan"])
    assert config.model_config == {"n_flows": 3, "mel": "hifigan"}


def test_the_settings_that_a_run_wrote_down_are_a_recipe(small, tmp_path):
    from omegaconf import OmegaConf

    config = small(objective={"sigma": 0.7})
    OmegaConf.save(OmegaConf.create(config.to_dict()), tmp_path / "config.yaml")
    assert compose(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("override", ["train.stepz=3", "+train.stepz=3", "++train.stepz=3"])
def test_an_unknown_override_fails_with_the_nearest_valid_name(override):
    with pytest.raises(ValueError, match=r"did you mean 'train\.steps'"):
        compose(None, [*GIVEN, override])


def test_an_unknown_key_in_a_recipe_fails_with_the_nearest_valid_name(tmp_path):
    (tmp_path / "config.yaml").write_text("defaults: [train, _self_]\ntrain: {stepz: 700}\n")
    with pytest.raises(ValueError, match=r"did you mean 'train\.steps'"):
        compose(tmp_path, GIVEN)


def test_a_recipe_that_is_a_list_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("- train\n- model: waveglow-64\n")
    with pytest.raises(ValueError, match=r"config\.yaml holds a list, expected settings by their names"):
        compose(tmp_path, GIVEN)


def test_a_recipe_that_is_no_yaml_is_refused_with_the_place(tmp_path):
    (tmp_path / "config.yaml").write_text("train: {steps: 7\n")
    with pytest.raises(ValueError, match=r"config\.yaml\", line 1"):
        compose(tmp_path, GIVEN)


def test_an_unknown_setting_of_the_model_fails_with_the_nearest_valid_name(small, run):
    with pytest.raises(ValueError, match="did you mean 'n_flows'"):
        run(small(model_config={"n_flow": 3}))


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("train.steps=many", r"train\.steps=many.*could not be converted"),
        ("train.steps=1,2", "sweep"),
        ("steps", "'steps' cannot be read as NAME=VALUE"),
        ("train.out=a=b", "'train.out=a=b' cannot be read as NAME=VALUE.*quotes"),
        ("train.out=größe", "'train.out=größe' cannot be read as NAME=VALUE.*quotes"),
    ],
)
def test_a_wrong_override_is_quoted(override, complaint):
    with pytest.raises(ValueError, match=complaint):
        compose(None, [*GIVEN, override])


@pytest.mark.parametrize("folder", ["a=b", "runs/größe, {x}"])
def test_a_value_in_quotes_may_hold_anything(folder):
    assert compose(None, [*GIVEN, f'train.out="{folder}"']).train.out == folder


def test_a_recipe_is_found_by_name_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "recipes" / "mine").mkdir(parents=True)
    (tmp_path / "recipes" / "mine" / "config.yaml").write_text("defaults: [train, _self_]\n")
    monkeypatch.chdir(tmp_path)
    assert find_recipe("mine") == tmp_path / "recipes" / "mine" / "config.yaml"
    with pytest.raises(ValueError, match="there is no recipe 'other'"):
        find_recipe(Path("other"))
