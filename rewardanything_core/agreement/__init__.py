"""Agreement of verdicts with people and between judges: pure functions on numbers, with their sources and ranges."""

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.agreement.consensus import ConsensusRanking, consensus_ranking
from rewardanything_core.agreement.krippendorff import juror_ratings, krippendorff_alpha

__all__ = ["Calibration", "ConsensusRanking", "consensus_ranking", "juror_ratings", "krippendorff_alpha"]
