"""Supervisor: one supervisord a host, driven over its Unix socket."""

from manor.integrations.supervisors.supervisor.product import Supervisord

product = Supervisord()
