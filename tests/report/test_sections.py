import shlex
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from titrant.record import Asked, ColumnSummary, Evaluation, Receipt, Source
from titrant.report import sections
from titrant.report.run import read_run


def test_the_leaderboard_ranks_the_best_and_keeps_the_baseline(made, tmp_path):
    run = read_run(made.folder(tmp_path, "binary"))
    places = sections.leaderboard(run, "maximize")
    scores = [member.score_validation for member in run.members if member.score_validation is not None]
    assert [place.member.score_validation for place in places[:15]] == sorted(scores, reverse=True)[:15]
    assert [place.winner for place in places] == [True] + [False] * (len(places) - 1)
    assert sum(place.member.origin == "baseline" for place in places) == 1
    assert all(place.member.origin != "refit" for place in places)
    assert ("model", "resnet, width 64, depth 3") in places[0].changes


def test_a_winner_with_a_lower_score_is_shown_and_explained(made, tmp_path):
    run = read_run(made.folder(tmp_path, "binary"))
    assert sections.winner_sentence(sections.leaderboard(run, "maximize"), run.summary) == ""
    last = sections.ranked(run.members, "maximize")[-1]
    run = replace(run, recipe=last.recipe)
    places = sections.leaderboard(run, "maximize")
    assert len(places) == 16
    assert [place.member.number for place in places if place.winner] == [last.number]
    rank = places[-1].rank
    assert rank > 15
    assert f"has rank {rank}: finals" in sections.winner_sentence(places, run.summary)
    early = run.summary.model_copy(update={"final": "checkpoint", "metric": "accuracy"})
    assert f"has rank {rank}: log loss has a say" in sections.winner_sentence(places, early)
    assert "has a say" not in sections.winner_sentence(places, run.summary)  # ROC AUC counts no rows
    longer = replace(run, recipe=last.recipe | {"stop": {"kind": "last", "epochs": 321.0}})  # finals may train for longer
    assert [place.member.number for place in sections.leaderboard(longer, "maximize") if place.winner] == [last.number]


def test_a_baseline_without_a_score_stands_last(made, tmp_path):
    run = read_run(made.folder(tmp_path, "binary"))
    run.members[0] = run.members[0].model_copy(update={"score_validation": None})
    places = sections.leaderboard(run, "maximize")
    assert len(places) == 16
    assert places[-1].rank is None
    assert places[-1].member.origin == "baseline"


def test_a_baseline_that_the_search_had_no_time_for_is_compared_with_all_the_same(made, tmp_path):
    run = read_run(made.folder(tmp_path, "binary"))
    searched = sections.leaderboard(run, "maximize")
    alone = replace(run, members=[member for member in run.members if member.origin != "baseline"])
    assert alone.plain is None
    judged = run.evaluation.model_copy(update={"recipe_baseline": run.baseline.recipe})
    places = sections.leaderboard(replace(alone, evaluation=judged), "maximize")
    changes = {place.member.number: place.changes for place in searched}
    assert len(places) >= 15
    assert all(place.changes == changes[place.member.number] for place in places if place.member.number in changes)
    assert ("model", "resnet, width 64, depth 3") in places[0].changes


def test_a_lower_error_ranks_first(made):
    order = sections.ranked([made.member(number, "regression") for number in range(12)], "minimize")
    assert [member.score_validation for member in order] == sorted(member.score_validation for member in order)


def test_scores_are_placed_in_order_and_the_interval_around_its_score(made):
    validation, refit, test, baseline = sections.stages(made.summary())
    assert 0 <= baseline.position < test.position < refit.position < validation.position <= 100
    assert test.interval[0] < test.position < test.interval[1]
    assert [stage.plain for stage in (validation, refit, test, baseline)] == [False, False, False, True]
    assert [stage.interval for stage in (validation, refit, baseline)] == [None] * 3


@pytest.mark.parametrize("score", [None, 0.5])
def test_missing_or_equal_scores_are_placed_too(made, score):
    names = ("score_validation", "score_refit", "score_test", "baseline_score_test")
    stages = sections.stages(made.summary(score_test_interval=None, **dict.fromkeys(names, score)))
    assert [stage.position for stage in stages] == ([] if score is None else [50.0] * 4)


def test_the_gap_is_told_in_the_metrics_own_direction(made):
    assert "0.0073 worse" in sections.gap_sentence(made.summary())
    assert "0.016 worse" in sections.gap_sentence(made.summary("regression"))
    assert "no worse" in sections.gap_sentence(made.summary(score_test=0.99))
    assert "cannot be told" in sections.gap_sentence(made.summary(score_test=None))


def test_recall_and_precision_are_those_of_scikit_learn(made):
    evaluation = made.evaluation("multiclass", 5)
    counts = np.array(evaluation.confusion)
    truth, predicted = (axis.repeat(counts.ravel()) for axis in map(np.ravel, np.indices(counts.shape)))
    found = sections.confusion(evaluation, made.data("multiclass", classes=tuple("abcde")))
    np.testing.assert_allclose([row.recall for row in found.classes], recall_score(truth, predicted, average=None))
    np.testing.assert_allclose([row.precision for row in found.classes], precision_score(truth, predicted, average=None))
    assert [row.name for row in found.classes] == list("abcde")
    np.testing.assert_allclose([sum(share for _, share in row) for row in found.matrix], 1)
    worst = found.commonest[0]
    assert worst[2] == (counts - np.diag(np.diag(counts))).max()


def test_a_class_that_never_occurs_has_no_recall_and_no_precision():
    found = sections.confusion(Evaluation(metrics={}, confusion=[[3, 0], [0, 0]]), None)
    assert (found.classes[1].name, found.classes[1].recall, found.classes[1].precision) == ("1", None, None)
    assert sections.confusion(Evaluation(metrics={}), None) is None


def test_too_many_classes_leave_the_matrix_out():
    found = sections.confusion(Evaluation(metrics={}, confusion=np.eye(60, dtype=int).tolist()), None)
    assert found.matrix is None
    assert len(found.classes) == 60


def test_commands_survive_the_shell(made, tmp_path):
    run = read_run(made.folder(tmp_path / "two words; $(touch x)", "binary"))
    (_, repeat), (_, again), (_, predict) = sections.commands(run)
    assert shlex.split(repeat) == [
        *("titrant", "fit", "adult sample.csv", "--target", "income", "--metric", "roc_auc", "--budget", "60s", "--seed", "7"),
    ]
    assert shlex.split(again)[-1] == str(run.folder / "recipe.yaml")
    assert shlex.split(predict)[2] == str(run.folder)


def test_the_search_is_repeated_as_it_was_asked_for(made, tmp_path):
    folder = made.folder(tmp_path, "binary")
    Asked(folds=5, repeats=2, search="tpe", ensemble=False).write(folder / "asked.json")
    repeat = dict(sections.commands(read_run(folder)))["Repeat the search"]
    assert "--search tpe --folds 5 --repeats 2 --no-ensemble --metric" in repeat


def test_the_search_is_repeated_with_all_that_the_data_were_read_by(made, tmp_path):
    folder = made.folder(tmp_path, "binary")
    source = Source(
        data="/x/sales.csv", target="units", by="shop", time="the day", horizon=14, kinds={"zip": "category"}, hold_out=False
    )
    source.write(folder / "source.json")
    repeat = shlex.split(dict(sections.commands(read_run(folder)))["Repeat the search"])
    assert repeat[3:-6] == [
        *(
            "--target",
            "units",
            "--id",
            "shop",
            "--time",
            "the day",
            "--horizon",
            "14",
            "--kind",
            "zip=category",
            "--no-hold-out",
        ),
    ]
    (folder / "source.json").write_text("[]")
    assert "source.json" in read_run(folder).gaps


def test_a_frame_is_fitted_again_in_python(made, tmp_path):
    folder = made.folder(tmp_path, "binary")
    made.data("binary").model_copy(update={"source": "a pandas frame"}).write(folder / "data.json")
    purposes = dict(sections.commands(read_run(folder)))
    assert (
        purposes["Repeat the search, in Python"] == "titrant.fit(frame, target='income', budget=60, metric='roc_auc', seed=7)"
    )


def test_shares_of_receipts_stay_between_nothing_and_all():
    pairs = [(0, 0), (0, 4), (1, 4), (9, 4)]
    receipts = [Receipt(trick="dropout", kind="k", acted=acted, seen=seen, unit="units") for acted, seen in pairs]
    assert [act.share for act in sections.acts(receipts)] == [None, 0, 0.25, 1]


def test_a_sparkline_names_its_range_or_its_values():
    column = ColumnSummary(name="x", kind="number", missing=0, distinct=3, histogram=[1, 4], labels=["0", "5", "9"])
    assert sections.sparkline(column) == sections.Sparkline([0.25, 1], "from 0 to 9")
    named = column.model_copy(update={"labels": ["a", "b"]})
    assert sections.sparkline(named).title == "commonest values: a, b"
    assert sections.sparkline(column.model_copy(update={"histogram": []})) is None
    assert sections.sparkline(column.model_copy(update={"histogram": [0, 0]})) is None


def test_the_states_count_searched_recipes_only(made):
    members = [made.member(number, "binary") for number in range(10)]
    refit = members[0].model_copy(update={"origin": "refit"})
    assert sections.states([*members, refit]) == "2 finished, 7 stopped early as weak, 1 diverged"
