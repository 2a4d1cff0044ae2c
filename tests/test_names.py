"""What is said of names that do not exist."""

from waveflow.names import unknown_name


def test_the_nearest_name_comes_first_then_all():
    assert unknown_name("colour", "gren", ["red", "green"]) == (
        "unknown colour 'gren'; did you mean 'green'? Valid: green, red"
    )
    assert unknown_name("colour", "xyz", ["red", "green"]) == "unknown colour 'xyz'; valid: green, red"


def test_what_is_likely_goes_before_what_is_near():
    message = unknown_name("setting", "train.lr", ["train.ema", "optimizer.lr"], likely=["optimizer.lr"])
    assert "did you mean 'optimizer.lr'?" in message


def test_of_very_many_names_the_near_one_is_enough():
    valid = [f"name_{i}" for i in range(100)]
    assert unknown_name("name", "name_7x", valid) == "unknown name 'name_7x'; did you mean 'name_7'?"
    assert "name_99" in unknown_name("name", "other", valid)
