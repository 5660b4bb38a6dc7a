"""The boards, in the order in which an operator needs them."""

from typing import Final

from spillway_dashboards.boards import admission, chaos, engines, overview, slo
from spillway_dashboards.model import Board

BOARDS: Final[tuple[Board, ...]] = (overview.BOARD, engines.BOARD, admission.BOARD, slo.BOARD, chaos.BOARD)
