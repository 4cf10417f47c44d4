"""The inference engine: waiting queue, KV cache, packed batches, constrained decoding, option scoring."""
