"""How far the estimate of tokens from characters is from a tokenizer's count, on texts of several kinds and languages.

    python benchmarks/token_estimates.py

The tokenizer is cl100k, which LiteLLM brings along. Newer ones need fewer tokens outside of English.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from rewardanything_core.backends.pricing import TOKENS_PER_MESSAGE, approximate_tokens

ROOT = Path(__file__).parent.parent

TEXTS = {
    "English": (ROOT / "docs" / "principles.md").read_text(encoding="utf-8"),
    "Python": (ROOT / "rewardanything_core" / "judging" / "judge.py").read_text(encoding="utf-8"),
    "JSON": json.dumps([{"id": i, "scores": {"model-1": 3, "model-2": 5}, "best": "model-2"} for i in range(40)]),
    "a table": "\n".join(f"| {i} | {i * 3.14:.3f} | `x_{i}` |" for i in range(100)),
    "numbers": " ".join(str(i * 7919) for i in range(300)),
    "German": "Eine gute Antwort ist richtig, kurz und beantwortet die Frage, ohne dass Überflüssiges stört.",
    "Russian": "Хороший ответ точен, краток и прямо отвечает на вопрос пользователя без лишних слов.",
    "Arabic": "الإجابة الجيدة دقيقة وموجزة وتجيب مباشرة عن سؤال المستخدم.",
    "Hindi": "एक अच्छा उत्तर सटीक और संक्षिप्त होता है और प्रश्न का सीधा उत्तर देता है।",
    "Chinese": "好的回答应当准确、简洁,并且直接回答用户的问题。",
    "Japanese": "良い回答は正確で簡潔であり、利用者の質問に直接答えるべきです。",
    "Korean": "좋은 답변은 정확하고 간결하며 질문에 직접 답합니다.",
}


def main() -> None:
    import litellm

    print("| text | tokens | estimate / count | bound / count |\n|---|---|---|---|")
    for name, text in TEXTS.items():
        count = len(litellm.encode(model="gpt-4o-mini", text=text))
        message = [{"role": "user", "content": text}]
        typical, cautious = (approximate_tokens(message, cautious=each) - TOKENS_PER_MESSAGE for each in (False, True))
        print(f"| {name} | {count:,} | {typical / count:.2f} | {cautious / count:.2f} |")


if __name__ == "__main__":
    main()
