"""The outside probe: asks the front door as a client does, at a stated rate, and counts every request that was lost (docs/receipt.md).

Invariant: open loop, never retries, never resolves names; a request that was sent is in the results, whatever came of it.
"""

from manor.observe.probe.engine import Probe
from manor.observe.probe.model import Lane, Loss, LossKind, Outcome, ProbeConfig, Target
from manor.observe.probe.process import argv, run_process
from manor.observe.probe.results import Recording, read_results
from manor.observe.probe.summary import Latency, Outage, ProbeResult, judged, measured_outage, summarize
from manor.observe.window import Window

__all__ = [
    "Lane",
    "Latency",
    "Loss",
    "LossKind",
    "Outage",
    "Outcome",
    "Probe",
    "ProbeConfig",
    "ProbeResult",
    "Recording",
    "Target",
    "Window",
    "argv",
    "judged",
    "measured_outage",
    "read_results",
    "run_process",
    "summarize",
]
