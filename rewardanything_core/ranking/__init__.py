"""Ranking systems: whose answers to the same prompts are best under a principle, and how certain that is."""

from rewardanything_core.ranking.analysis import ListScores, analyse
from rewardanything_core.ranking.ranking import rank
from rewardanything_core.ranking.results import PairResult, Ranking, RankingReport, SystemRank

__all__ = ["ListScores", "PairResult", "Ranking", "RankingReport", "SystemRank", "analyse", "rank"]
