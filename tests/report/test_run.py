import pytest

from titrant.errors import OutputError
from titrant.recipe import Recipe
from titrant.report.run import read_run


def test_a_whole_run_has_no_gaps(made, tmp_path):
    run = read_run(made.folder(tmp_path, "binary"))
    assert run.gaps == {}
    assert run.summary == made.summary("binary")
    assert run.baseline is run.members[0]
    assert run.recipe["model"]["kind"] == "resnet"


@pytest.mark.parametrize("name", ["summary.json", "members.jsonl", "data.json", "evaluation.json", "recipe.yaml"])
@pytest.mark.parametrize("content", [None, b"{", b"[1, 2]", b"\xff\xfe", b"null"])
def test_a_part_that_is_missing_or_damaged_is_a_gap_that_says_why(made, tmp_path, name, content):
    folder = made.folder(tmp_path, "binary")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    run = read_run(folder)
    assert list(run.gaps) == [name]
    assert name in run.gaps[name]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"holds no run.*summary\.json"):
        read_run(tmp_path)
    with pytest.raises(OutputError, match="does not exist"):
        read_run(tmp_path / "nothing")


def test_a_saved_recipe_is_read_as_its_plain_values(tmp_path):
    recipe = Recipe().replace("dropout", "bernoulli").replace("learning_rate.peak", 0.0123456789)
    recipe.save(tmp_path / "recipe.yaml")
    run = read_run(tmp_path)
    assert run.recipe == recipe.plain()
    assert run.recipe_yaml == recipe.yaml()
