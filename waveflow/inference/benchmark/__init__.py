"""Speed of synthesis: candidates take turns, beside what the machine itself reaches."""

from waveflow.inference.benchmark.peers import PEERS
from waveflow.inference.benchmark.subjects import made_up_vowels
from waveflow.inference.benchmark.table import markdown, rich_table
from waveflow.inference.benchmark.turns import Candidate, Plan, run

__all__ = ["PEERS", "Candidate", "Plan", "made_up_vowels", "markdown", "rich_table", "run"]
