"""Tests of the harness, the methods and the workflow; ``ROOT`` is the checkout's folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
