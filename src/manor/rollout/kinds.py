"""Every kind of step that a rollout consists of; an executor that meets another one stops with a diagnosis."""

from __future__ import annotations

from manor.operations.step import Step
from manor.rollout.fleet import Fleet
from manor.rollout.framing import Bake, BurnRelease, Certify, Conclude, Preflight, SetMaintenance, SpareRelease, StartProbe, StopProbe
from manor.rollout.moving import AdmitSlot, DrainSlot, ForgetSlot, KeepOut, WithholdSlots
from manor.rollout.slots import PlaceRelease, StartSlot, WarmSlot
from manor.rollout.stopping import StopSlot

KINDS: tuple[type[Step[Fleet]], ...] = (
    Preflight,
    PlaceRelease,
    StartSlot,
    WarmSlot,
    AdmitSlot,
    DrainSlot,
    StopSlot,
    StartProbe,
    StopProbe,
    SetMaintenance,
    Bake,
    Certify,
    WithholdSlots,
    KeepOut,
    ForgetSlot,
    BurnRelease,
    SpareRelease,
    Conclude,
)
