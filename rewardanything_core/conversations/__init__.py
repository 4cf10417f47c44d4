"""Conversations: any framework's messages, agent runs and traces in one normal form, and as a judge reads them.

`read_messages` has a reader for each family of formats, a module with `recognises` and `read`; `reading.READERS` lists
them in order of precedence.
"""

from rewardanything_core.conversations.reading import is_conversation, read_messages
from rewardanything_core.conversations.rendering import final_text, has_images, message_text, transcript, turns_as_json
from rewardanything_core.conversations.replies import read_reply, split_conversation
from rewardanything_core.conversations.shortening import Shortened, shorten
from rewardanything_core.conversations.trajectory import Response, Trajectory, read_response, response_text

__all__ = [
    "Response",
    "Shortened",
    "Trajectory",
    "final_text",
    "has_images",
    "is_conversation",
    "message_text",
    "read_messages",
    "read_reply",
    "read_response",
    "response_text",
    "shorten",
    "split_conversation",
    "transcript",
    "turns_as_json",
]
