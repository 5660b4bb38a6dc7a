"""What Spillway's processes say to each other: messages, codec, outcomes, names. Standard library and msgspec only."""
