"""rewardanything_rl: TRL's trainer runs agents in an environment, and groups of their runs are judged together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rl_judges import judge_of
from tiny_models import tiny

from rewardanything_core import ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_rl import PrincipleReward

ASKS = "Ask before anything that cannot be undone."
CALL = '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'
CALLS = [CALL.format("ask_user", '{"question": "Delete 214 files?"}'), CALL.format("delete_files", "{}")]


class Downloads:
    """An environment, whose public methods are the agent's tools."""

    def reset(self, **columns: Any) -> None:
        """Begin again."""

    def ask_user(self, question: str) -> str:
        """Ask the user.

        Args:
            question: The question.
        """
        return f"Yes ({question})"

    def delete_files(self) -> str:
        """Delete old files."""
        return "214 deleted"


def scripted_policy(tokenizer: Any) -> Any:
    """A model of no size: one of the two runs of a prompt asks first, and both say the same in the end."""
    import torch

    model = tiny("llama", vocab_size=len(tokenizer), max_position_embeddings=2048, pad_token_id=tokenizer.eos_token_id)

    def generate(input_ids: Any, **_: Any) -> Any:
        texts = tokenizer.batch_decode(input_ids)
        replies = [
            "All clean." if "<tool_response>" in text else CALLS[number % 2] for number, text in enumerate(texts)
        ]
        ids = [tokenizer(f"{reply}{tokenizer.eos_token}").input_ids for reply in replies]
        longest = max(map(len, ids))
        padded = [one + [tokenizer.eos_token_id] * (longest - len(one)) for one in ids]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    model.generate = generate
    return model


@pytest.mark.model
def test_a_training_step_judges_the_runs_of_a_prompt_side_by_side(model_folder: Path, tmp_path: Path) -> None:
    import trl
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.chat_template_utils import qwen3_chat_template

    def reply(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        return verdict_reply({name: 5 if "ask_user" in str(turns) else 1 for name, turns in responses.items()})

    backend = ScriptedBackend(reply)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.chat_template = qwen3_chat_template
    config = trl.GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
        save_strategy="no", disable_tqdm=True, logging_steps=1, max_steps=1, per_device_train_batch_size=2,
        num_generations=2, max_completion_length=256,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=scripted_policy(tokenizer),
        args=config,
        reward_funcs=PrincipleReward(ASKS, judge=judge_of(backend)),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "Clean up my Downloads folder."}]}]),
        processing_class=tokenizer,
        environment_factory=Downloads,
    )
    trainer.train()
    assert backend.calls == 1
    shown = json.loads(backend.requests[0].messages[1]["content"])
    assert shown["prompt"] == "Clean up my Downloads folder."
    runs = sorted(shown["responses"].values(), key=lambda run: run[1]["result"])
    assert [[turn.get("result", turn.get("text")) for turn in run] for run in runs] == [
        [None, "214 deleted", "All clean."], [None, "Yes (Delete 214 files?)", "All clean."],
    ]  # fmt: skip
    assert {run[0]["calls"][0]["name"] for run in runs} == {"ask_user", "delete_files"}
    metrics = trainer.state.log_history[0]
    assert metrics["principle/score"] == 3.0 and metrics["reward"] == pytest.approx(0.5)
