from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardanything_core import ConfigError, Judge, ScriptedBackend, Verdict, load_judge
from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.agreement.isotonic import cross_calibrated, fit_calibration
from rewardanything_core.cases import Case

GENTLE = Calibration(judge=(1.0, 3.0, 5.0), human=(2.0, 4.0, 4.5))


class TestMap:
    def test_the_map_is_linear_between_knots(self):
        result = [GENTLE.apply(score) for score in (1, 2, 3, 4, 5)]
        assert result == [2.0, 3.0, 4.0, 4.25, 4.5]
        assert (GENTLE.apply(0.5), GENTLE.apply(6)) == (2.0, 4.5)

    def test_a_calibrated_verdict_keeps_its_ranking_and_pass_scores(self):
        verdict = Verdict(
            scores={"a": 3.0, "b": 1.0}, ranking=["a", "b"], spread={"a": 1.0, "b": 0.0},
            pass_scores=[{"a": 2.0, "b": 1.0}, {"a": 4.0, "b": 1.0}],
        )  # fmt: skip
        result = GENTLE.calibrate(verdict)
        assert result.scores == {"a": 4.0, "b": 2.0}
        assert result.spread == {"a": (4.25 - 3.0) / 2, "b": 0.0}
        assert (result.ranking, result.pass_scores) == (verdict.ranking, verdict.pass_scores)

    def test_a_saved_calibration_is_loaded(self, tmp_path):
        GENTLE.save(tmp_path / "c.json")
        assert (
            Calibration.of(tmp_path / "c.json") == Calibration.of(GENTLE.to_dict()) == Calibration.of(GENTLE) == GENTLE
        )

    @pytest.mark.parametrize(
        ("judge", "human"),
        [((1.0, 5.0), (4.0, 2.0)), ((1.0, 4.0), (1.0, 5.0)), ((1.0, 5.0), (0.0, 5.0)), ((1.0, 5.0), (1.0,)), ((), ())],
    )
    def test_a_map_that_does_not_increase_on_the_scale_is_refused(self, judge, human):
        with pytest.raises(ConfigError):
            Calibration(judge=judge, human=human)

    def test_an_invalid_file_is_named_in_the_error(self, tmp_path):
        for content in ("[]", "{", '{"format": 9}', '{"format": 1, "judge": ["x"], "human": [1]}', "{}", "5"):
            (tmp_path / "c.json").write_text(content)
            with pytest.raises(ConfigError, match=r"c\.json"):
                Calibration.of(tmp_path / "c.json")
        with pytest.raises(ConfigError, match="Cannot read"):
            Calibration.of(tmp_path / "nowhere.json")
        with pytest.raises(ConfigError, match="Cannot write"):
            GENTLE.save(tmp_path / "no" / "c.json")


class TestLearning:
    @given(st.lists(st.tuples(st.floats(1, 5), st.floats(1, 5)), min_size=1, max_size=40))
    @settings(max_examples=150, deadline=None)
    def test_fitted_maps_always_increase_within_the_scale(self, labels):
        result = fit_calibration([judged for judged, _ in labels], [human for _, human in labels])
        mapped = [result.apply(score) for score in np.linspace(1, 5, 50)]
        assert all(one < following for one, following in pairwise(mapped))
        assert 1 <= mapped[0] < mapped[-1] <= 5

    def test_increasing_labels_are_fitted_exactly(self):
        result = fit_calibration([1, 2, 3, 4, 5], [1, 1.5, 2, 4, 4.5], {"labels": 5})
        assert [result.apply(score) for score in (1, 2, 3, 4, 5)] == pytest.approx([1, 1.5, 2, 4, 4.5])
        assert result.about == {"labels": 5}

    def test_a_lenient_judge_is_corrected_on_held_out_labels(self):
        random = np.random.default_rng(0)
        human = random.integers(1, 6, 300).astype(float)
        judged = np.clip(np.round(3 + human * 0.4 + random.normal(0, 0.3, 300), 1), 1, 5)
        mapped = cross_calibrated(judged.tolist(), human.tolist(), [i // 3 for i in range(300)])
        assert np.abs(np.array(mapped) - human).mean() < 0.75 * np.abs(judged - human).mean()

    def test_one_group_gives_no_cross_calibration(self):
        assert cross_calibrated([1.0, 2.0], [1.0, 2.0], ["a", "a"]) is None
        assert cross_calibrated([], [], []) is None


class TestJudge:
    def judge(self, **options) -> Judge:
        return Judge(ScriptedBackend.scoring(lambda text: 3 if text == "good" else 1), **options)

    def test_scores_are_mapped_after_the_store(self, own_store):
        case = ("Be good.", "Hi?", {"a": "good", "b": "bad"})
        raw = self.judge(store=own_store)
        assert raw.judge(*case).scores == {"a": 3.0, "b": 1.0}
        mapped = self.judge(store=own_store, calibration=GENTLE)
        verdict = mapped.judge(*case)
        assert verdict.scores == {"a": 4.0, "b": 2.0}
        assert verdict.cached  # a verdict stored without a calibration serves a judge with one
        assert mapped.store.get(raw._keys.key(Case(*case))).verdict.scores == {"a": 3.0, "b": 1.0}

    def test_stored_verdicts_are_uncalibrated(self, own_store):
        mapped = self.judge(store=own_store, calibration=GENTLE)
        assert mapped.score("Be good.", "Hi?", "good") == 4.0
        assert self.judge(store=own_store).score("Be good.", "Hi?", "good") == 3.0

    def test_the_calibration_is_part_of_the_fingerprint(self, tmp_path):
        mapped = self.judge(calibration=GENTLE, cache="off")
        assert mapped.fingerprint()["calibration"] == GENTLE.to_dict()
        assert "calibration" not in self.judge(cache="off").fingerprint()
        assert mapped.with_options(passes=2).calibration == GENTLE
        assert mapped.with_options(calibration=None).calibration is None

    def test_settings_name_a_calibration_file(self, tmp_path, monkeypatch):
        GENTLE.save(tmp_path / "c.json")
        model = "scripted:bench_judges:by_principle"
        judge = load_judge(model=model, calibration=str(tmp_path / "c.json"), cache="off")
        assert judge.calibration == GENTLE
        assert load_judge(json.loads(json.dumps(judge.spec()))).calibration == GENTLE
        monkeypatch.setenv("RA_JUDGE_CALIBRATION", str(tmp_path / "c.json"))
        assert load_judge(model=model, cache="off").calibration == GENTLE
        with pytest.raises(ConfigError, match="Cannot read the calibration"):
            load_judge(model=model, calibration="nowhere.json", cache="off")
