"""The int32 words in which a row's sampling parameters travel to the device, floats and unsigned numbers by their bits.

Without torch and Triton: the host's side and the kernels name them alike.
"""

from typing import Final

SLOT: Final = 0
POSITION: Final = 1
"""Output position of the token to sample."""
CHANGED: Final = 2
"""Whether biases, suppressed tokens or penalties change the row."""
SUPPRESSES: Final = 3
"""Whether ending tokens are still forbidden at this position."""
NUM_BIASES: Final = 4
NUM_SUPPRESSED: Final = 5
COUNTS_ROW: Final = 6
"""Row of token counts; below 0: nothing is counted."""
REPETITION: Final = 7
FREQUENCY: Final = 8
PRESENCE: Final = 9
GREEDY: Final = 10
INVERSE_TEMPERATURE: Final = 11
MAX_DISTANCE: Final = 12
TOP_K: Final = 13
TOP_P_LOW: Final = 14
TOP_P_HIGH: Final = 15
"""The halves of a float64."""
CHOICE: Final = 16
SEED_LOW: Final = 17
SEED_HIGH: Final = 18
NUM_LOGPROBS: Final = 19
"""How many of the most likely tokens; below 0: no logprobs at all."""
WORDS: Final = 20

BLOCK: Final = 1024
"""Tokens of the vocabulary to a block: what one program looks at, and what is skipped as a whole."""
UNSOUND: Final = -1
"""In place of a token: the row held NaN or +Inf, or nothing but -Inf."""
