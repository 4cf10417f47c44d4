"""The regression gate: did the answers get worse under a principle, by more than a margin, and how sure is that?"""
