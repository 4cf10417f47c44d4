"""How a verdict is obtained from a model: written replies, expected scores, token probabilities, long lists."""
