"""From a case to chat messages and from a reply to scores: templates, masking, reply grammar, parsing."""
