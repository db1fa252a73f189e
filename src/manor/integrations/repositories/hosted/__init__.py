"""Bare repositories in the state folder, served over smart HTTP by the version control system's own backend."""

from manor.integrations.repositories.hosted.product import Hosted

product = Hosted()
