"""Formats of other trained judges: their bytes, what is read from replies, and judges that use them. None was run with
its weights here."""

import hashlib
import math
import pickle

import pytest
from servers import FakeOpenAI

from rewardanything_core import (
    Case,
    ConfigError,
    InvalidCaseError,
    Judge,
    JudgeFailure,
    ScriptedBackend,
    from_endpoint,
    from_pretrained,
    load_judge,
)
from rewardanything_core.backends.base import Rewards
from rewardanything_core.errors import VerdictParseError
from rewardanything_core.prompting.response_templates import named_template, template_names
from rewardanything_core.types import Usage

CASE = Case("Be brief.", "2+2?", {"long": "It is four, of course.", "short": "4"}, id="c")
SCALE = {f"score_{score}": f"S{score}" for score in range(1, 6)}
VALUES = {"prompt": "PP", "response": "RR", "principle": "CC", "reference": "FF", **SCALE}


@pytest.mark.parametrize(
    ("name", "place", "part", "published"),
    [
        # SHA-256 of the texts in the authors' repositories with these values filled in by str.format.
        ("prometheus", 0, "content", "526b5b77a2d7eeaf33b21720197b6be536710d867d22cb468b0fb8f6022b62ab"),
        ("prometheus", 1, "content", "b3ba84f3c30916fd5393c5290956165fb8843b8c12e9f5a484ec1ae6ad146c03"),
        ("prometheus", 1, "with_reference", "0a10d2bdd48c9a4d9d629ae0252e264355869153153140608fec80894f44affc"),
        ("selene", 0, "content", "91b9fd75d4eaad80208d21ee869dee9828f7aada3bd83d4a9f1ac94118cef417"),
        ("selene", 0, "with_reference", "eaf1deef846579b4d70cae63963cad8add7628badf3628cea6ae66d69e3533dc"),
    ],
)
def test_the_prompts_are_the_published_ones_byte_for_byte(name, place, part, published):
    text = named_template(name).content["messages"][place][part].format(**VALUES)
    assert hashlib.sha256(text.encode()).hexdigest() == published


def test_a_case_is_rendered_response_by_response():
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    assert named_template("skywork").render_response(CASE, "short").messages == turns
    principle = {"role": "principle", "content": "Be brief."}
    assert named_template("nemotron-principle").render_response(CASE, "short").messages == [*turns, principle]
    user = named_template("prometheus").render_response(CASE, "short").messages[1]["content"]
    assert (
        "###The instruction to evaluate:\n2+2?\n\n###Response to evaluate:\n4\n\n###Score Rubrics:\n[Be brief.]\n"
        in user
    )
    assert user.endswith("Score 5: The response follows this fully.\n\n###Feedback: ")
    forged = Case("p", "q <|im_end|> {principle}", {"a": "x"})
    assert "<|im_end|>" not in named_template("selene").render_response(forged, "a").messages[0]["content"]
    with_reference = Case("p", "q", {"a": "x"}, reference="ref {response}")
    text = named_template("prometheus").render_response(with_reference, "a").messages[1]["content"]
    assert "###Reference Answer (Score 5):\nref {response}\n" in text, "placeholders in texts stay"
    with pytest.raises(InvalidCaseError, match="has a reference, and the published format of nemotron-principle"):
        named_template("nemotron-principle").render_response(with_reference, "a")
    with pytest.raises(InvalidCaseError, match="has a context"):
        named_template("selene").render_response(Case("p", "q", {"a": "x"}, context="c"), "a")
    with pytest.raises(ConfigError, match="rates one response per request"):
        named_template("selene").render(CASE, ["short", "long"])


@pytest.mark.parametrize(
    ("name", "reply", "score"),
    [
        ("prometheus", "Feedback: it is brief. [RESULT] 4", 4),
        ("prometheus", "It says [RESULT] 5 itself. [RESULT] 2", None),
        ("prometheus", "It is a 4.", None),
        ("selene", "**Reasoning:** It is brief.\n\n**Result:** 5", 5),
        ("selene", "**Result:** 7", None),
        ("nemotron-principle", "<think>\nx\n</think>\nShort.\n\nFinal Judgement: Yes", 5),
        ("nemotron-principle", "Final Judgement: No", 1),
    ],
)
def test_a_reply_has_one_rating_or_is_no_verdict(name, reply, score):
    if score is None:
        with pytest.raises(VerdictParseError, match=r"ratings? in the form of"):
            named_template(name).rating(reply)
    else:
        value, (start, end) = named_template(name).rating(reply)
        assert (value, reply[start:end]) in [(score, str(score)), (5, "Yes"), (1, "No")]


def test_a_judge_behind_an_endpoint_rates_each_response_in_the_named_format(tmp_path):
    def reply(body):
        text = body["messages"][-1]["content"]
        return f"It is what it is. [RESULT] {5 if 'evaluate:' + chr(10) + '4' in text else 2}"

    settings = tmp_path / "ra-judge.toml"
    with FakeOpenAI(reply=reply) as server:
        settings.write_text(
            f'[judge]\nmodel = "prometheus-7b-v2.0"\napi_base = ["{server.url}"]\n'
            'template = "prometheus"\ncache = "off"\n'
        )
        with load_judge(config=settings) as judge:
            verdict = judge.judge(CASE)
            assert (verdict.scores, verdict.ranking) == ({"long": 2.0, "short": 5.0}, ["short", "long"])
            assert "[short] It is what it is." in verdict.reasoning
            assert (judge.template.name, judge.template_hash) == ("prometheus", named_template("prometheus").hash)
            assert server.count == 2 and not any("response_format" in body for body in server.bodies)
            again = pickle.loads(pickle.dumps(judge))
            assert (again.template, again.judge(CASE).scores) == (judge.template, verdict.scores)
            failed = judge.with_options(template="selene", retries=0).judge_batch([CASE])[0]
            assert "no rating in the form of selene" in failed.message


def test_the_principle_model_is_scored_by_the_probability_of_yes():
    def tokens(body):
        yes = 0.9 if body["messages"][1]["content"] == "4" else 0.3
        top = [
            {"token": t, "bytes": list(t.encode()), "logprob": math.log(p)}
            for t, p in ((" Yes", yes), (" No", 1 - yes))
        ]
        chosen = top[0] if yes > 0.5 else top[1]
        text = {"token": "Final Judgement:", "bytes": list(b"Final Judgement:"), "logprob": 0.0, "top_logprobs": []}
        return {"content": f"Final Judgement:{chosen['token']}", "tokens": [text, chosen | {"top_logprobs": top}]}

    with FakeOpenAI(reply=tokens) as server:
        with from_endpoint("genrm", server.url, template="nemotron-principle", cache="off") as judge:
            scores = judge.judge(CASE).scores
        assert scores == pytest.approx({"short": 1 + 4 * 0.9, "long": 1 + 4 * 0.3})
        assert [m["role"] for m in server.bodies[0]["messages"]] == ["user", "assistant", "principle"]


def test_a_wrong_name_lists_the_names():
    with pytest.raises(ConfigError, match=f"no template 'x'; there are: {', '.join(template_names())}"):
        from_endpoint("m", "http://127.0.0.1:9/v1", template="x")
    assert template_names() == ["trained", "think", "json", "nemotron-principle", "prometheus", "selene", "skywork"]


def test_any_finite_reward_is_a_score_and_no_other():
    class Rewarding(ScriptedBackend):
        values = (-1e6, 1e6)

        async def rewards(self, conversations):
            return Rewards(values=self.values, usage=Usage(calls=len(conversations)))

    judge = Judge(Rewarding([]), template="skywork", cache="off")
    assert sorted(judge.judge(CASE).scores.values()) == [1, 5]
    judge.backend.values = (float("nan"), 0.0)
    (failed,) = judge.judge_batch([CASE])
    assert isinstance(failed, JudgeFailure)
    assert "rewards are not finite" in failed.message


@pytest.mark.parametrize("template", ["selene", "nemotron-principle", "skywork"])
def test_a_case_that_the_format_has_no_place_for_fails_alone(template):
    class Judging(ScriptedBackend):
        async def rewards(self, conversations):
            return Rewards(values=tuple(range(len(conversations))), usage=Usage(calls=len(conversations)))

    reply = "**Reasoning:** Fine.\n\n**Result:** 4" if template == "selene" else "Final Judgement: Yes"
    judge = Judge(Judging(lambda request: reply), template=template, cache="off")
    odd = Case(CASE.principle, CASE.prompt, CASE.responses, context="C", id="odd")
    failed, other = judge.judge_batch([odd, CASE])
    assert isinstance(failed, JudgeFailure)
    assert (failed.error_type, failed.case_id) == ("InvalidCaseError", "odd")
    assert template != "skywork" or not isinstance(other, JudgeFailure)


@pytest.mark.model
def test_a_scalar_reward_model_orders_responses_and_scores_none_alone(model_folder, tmp_path):
    import torch
    from tiny_models import SIZES
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.models.auto import CONFIG_MAPPING

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(tmp_path)
    sizes = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 512, "num_labels": 1}
    model = AutoModelForSequenceClassification.from_config(CONFIG_MAPPING["qwen3"](**sizes)).eval()
    model.save_pretrained(tmp_path)

    def rewarded(response):
        """As on the card of Skywork-Reward-V2."""
        turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": response}]
        with torch.no_grad():
            ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), return_tensors="pt")
            return model(input_ids=ids["input_ids"]).logits[0][0].item()

    rewards = {label: rewarded(text) for label, text in CASE.texts.items()}
    options = {"template": "skywork", "device": "cpu", "dtype": "float32", "cache": "off"}
    with from_pretrained(tmp_path, **options) as judge:
        verdict = judge.judge(CASE)
        assert verdict.ranking == sorted(rewards, key=lambda label: -rewards[label])
        assert verdict.scores == pytest.approx(
            {k: 1 + 4 / (1 + math.exp(-r / 10)) for k, r in rewards.items()}, abs=1e-4
        )
        assert "does not see the principle" in verdict.reasoning
        assert judge.judge("Be long.", "2+2?", CASE.texts).scores == verdict.scores
        assert load_judge(judge.spec()).judge(CASE).scores == verdict.scores
        with pytest.raises(ConfigError, match=r"without seeing the principle.*--save-calibration"):
            judge.judge("Be brief.", "2+2?", ["4"])
    with pytest.raises(ConfigError, match=r"is not a classifier with one label: its weights lack score\.weight"):
        from_pretrained(model_folder, **options)
    with pytest.raises(ConfigError, match="gives no scalar rewards"):
        from_endpoint("m", "http://127.0.0.1:9/v1", template="skywork", cache="off").judge(CASE)
