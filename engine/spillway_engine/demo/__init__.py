"""The demo model: a Llama of about a million parameters that counts, adds, spells and chats.

Text generator, tokenizer, training and evaluation live beside the trained model itself, so that anybody can make it
again: `python -m spillway_engine.demo.train --out FOLDER`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MODEL_PATH: Final[Path] = Path(__file__).resolve().parent / "model"
"""The shipped model folder: config, weights (safetensors), tokenizer, chat template and model card."""
